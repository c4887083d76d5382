"""Tensordicts and rollouts as numpy arrays: for another process, or for a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

Arrays = dict[str | tuple[str, ...], NDArray[np.generic]]
Packed = Mapping[str, Any]
"""Rollouts end to end: `decisions`, arrays [sum of T], and `lengths`, their T."""
NAMES_OF_0_1 = {
    "crews": "slots",
    "oldest": "next_seed",
    "through": "finished",
    "broken_at": "lost_at",
    "lost": "losses",
    "fruitless": "losses_in_a_row",
    "begun": "prefixes",
    "scenes": "environments",
    "under_way": "in_progress",
    "landing": "commanded_tcp",
}
"""Keys in the saved states of version 0.1 -> today's."""


def as_arrays(tensordict: TensorDictBase) -> Arrays:
    """The leaves as arrays. A tensor would travel as a handle of shared memory, which dies with its sender."""
    return {key: cast(Tensor, tensor).numpy() for key, tensor in tensordict.items(True, True)}


def as_tensors(arrays: Arrays) -> TensorDictBase:
    """Inverse of `as_arrays`, with one batch axis."""
    tensordict = TensorDict({}, [len(next(iter(arrays.values())))])
    for key, array in arrays.items():
        tensordict[key] = torch.from_numpy(array)
    return tensordict


def pack(rollouts: Sequence[TensorDictBase]) -> Packed:
    """Rollouts [T] as arrays."""
    decisions = as_arrays(cast(TensorDictBase, torch.cat(list(rollouts)))) if rollouts else {}
    return {"lengths": [len(rollout) for rollout in rollouts], "decisions": decisions}


def unpack(packed: Packed) -> list[TensorDictBase]:
    """Inverse of `pack`."""
    lengths = packed["lengths"]
    return list(as_tensors(packed["decisions"]).split(lengths)) if lengths else []


def with_todays_names(state: Any) -> Any:
    """A saved state with keys of version 0.1 renamed; tuples become lists."""
    if isinstance(state, Mapping):
        return {NAMES_OF_0_1.get(key, key): with_todays_names(value) for key, value in state.items()}
    return [with_todays_names(value) for value in state] if isinstance(state, (list, tuple)) else state
