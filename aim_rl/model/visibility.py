"""Intent-causal attention: who may read whom (PAPER.md), as data.

The instruction is no group: it enters by cross-attention, in the groups of `READS_TEXT` only.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

GROUPS = ("past_obs", "past_act", "obs", "x", "m", "a")
LATER = {"obs": "past_obs", "past_obs": "past_obs", "past_act": "past_act"}  # what a later chunk takes a token for

VISIBLE: Mapping[str, frozenset[str]] = {
    # query: the groups whose keys it may read
    "past_obs": frozenset({"past_obs", "past_act"}),
    "past_act": frozenset({"past_obs", "past_act"}),
    "obs": frozenset({"past_obs", "past_act", "obs"}),
    "x": frozenset({"past_obs", "past_act", "obs", "x"}),
    "m": frozenset({"past_obs", "obs", "x", "m"}),
    "a": frozenset({"past_act", "obs", "m", "a"}),
}
_WORLD = frozenset(GROUPS) - {"a"}
TABLES: Mapping[str, Mapping[str, frozenset[str]]] = {
    "intent_causal": VISIBLE,
    # Ablations (experiments/visibility.py). Nothing but a can read a: actions are denoised after the world.
    "full": {group: _WORLD | {"a"} if group == "a" else _WORLD for group in GROUPS},
    "no_map": {**VISIBLE, "a": VISIBLE["a"] - {"m"}},
}
READS_TEXT = frozenset({"x"})


def group_ids(layout: Sequence[tuple[str, int]]) -> Tensor:
    """Group ids [N] of consecutive runs of tokens, e.g. [("obs", 23), ("x", 20)]."""
    return torch.cat([torch.full((count,), GROUPS.index(group)) for group, count in layout])


def attention_mask(
    groups: Tensor,
    chunks: Tensor | None = None,
    table: Mapping[str, frozenset[str]] = VISIBLE,
    window: int | None = None,
) -> Tensor:
    """Boolean mask [N, N], True where query (row) may read key (column).

    groups [N]: indices into GROUPS. chunks [N]: index of the decision a token belongs to. Tokens of one chunk read
    each other by the table, and of earlier chunks what those leave behind (`LATER`): their observation and the
    commanded action, which comes after all else of its chunk. window: how many chunks back they read. Without
    chunks, all tokens are of one.
    """
    device = groups.device
    reads = torch.tensor([[key in table[query] for key in GROUPS] for query in GROUPS], device=device)
    mask = reads[groups[:, None], groups[None, :]]
    if chunks is not None:
        recalls = torch.tensor([[LATER.get(key) in table[query] for key in GROUPS] for query in GROUPS], device=device)
        moment = 2 * chunks + (groups == GROUPS.index("past_act"))
        since = moment[:, None] - moment[None, :]
        mask = torch.where(since > 0, recalls[groups[:, None], groups[None, :]], mask & (since == 0))
        if window is not None:
            mask = mask & (chunks[:, None] - chunks[None, :] <= window)
    return mask
