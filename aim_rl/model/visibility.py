"""Intent-causal attention: which token kind may read which (docs/method.md), as a table.

The instruction is not a token kind: the kinds in `READS_TEXT` read it by cross-attention.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

TOKEN_KINDS = ("past_obs", "past_act", "obs", "x", "m", "a")
LATER = {"obs": "past_obs", "past_obs": "past_obs", "past_act": "past_act"}  # a token's kind in later chunks

VISIBLE: Mapping[str, frozenset[str]] = {
    # query: the kinds whose keys it may read
    "past_obs": frozenset({"past_obs", "past_act"}),
    "past_act": frozenset({"past_obs", "past_act"}),
    "obs": frozenset({"past_obs", "past_act", "obs"}),
    "x": frozenset({"past_obs", "past_act", "obs", "x"}),
    "m": frozenset({"past_obs", "obs", "x", "m"}),
    "a": frozenset({"past_act", "obs", "m", "a"}),
}
_WORLD = frozenset(TOKEN_KINDS) - {"a"}
TABLES: Mapping[str, Mapping[str, frozenset[str]]] = {
    "intent_causal": VISIBLE,
    # Ablations (experiments/visibility.py). Only a reads a: actions are denoised after the world.
    "full": {kind: _WORLD | {"a"} if kind == "a" else _WORLD for kind in TOKEN_KINDS},
    "no_map": {**VISIBLE, "a": VISIBLE["a"] - {"m"}},
}
READS_TEXT = frozenset({"x"})

Layout = Sequence[tuple[str, int]]  # consecutive tokens: (kind, count)


def kind_ids(layout: Layout) -> Tensor:
    """Indices into TOKEN_KINDS [N] of a layout's tokens, e.g. of [("obs", 23), ("x", 20)]."""
    return torch.cat([torch.full((count,), TOKEN_KINDS.index(kind)) for kind, count in layout])


def attention_mask(
    kinds: Tensor, chunks: Tensor | None = None, table: Mapping[str, frozenset[str]] = VISIBLE
) -> Tensor:
    """Boolean mask [N, N], True where the query (row) may read the key (column).

    Tokens of one chunk read each other by the table. Of earlier chunks they read what remains (`LATER`): the
    observation and the commanded action, which comes last in its chunk.

    Args:
        kinds: [N], indices into TOKEN_KINDS.
        chunks: [N], index of the decision that a token belongs to; None: all belong to one.
        table: who reads whom.
    """
    device = kinds.device
    reads = torch.tensor([[key in table[query] for key in TOKEN_KINDS] for query in TOKEN_KINDS], device=device)
    mask = reads[kinds[:, None], kinds[None, :]]
    if chunks is not None:
        recalls = torch.tensor(
            [[LATER.get(key) in table[query] for key in TOKEN_KINDS] for query in TOKEN_KINDS], device=device
        )
        moment = 2 * chunks + (kinds == TOKEN_KINDS.index("past_act"))
        since = moment[:, None] - moment[None, :]
        mask = torch.where(since > 0, recalls[kinds[:, None], kinds[None, :]], mask & (since == 0))
    return mask
