"""Which tokens one pass has, in order, and which of them may be read: attention masks with a history."""

from collections.abc import Mapping

import torch
from torch import Tensor

from aim_rl.model.presets import Preset
from aim_rl.model.visibility import Layout, attention_mask, kind_ids


class TokenLayout:
    """The tokens of one preset under one visibility table.

    Attributes:
        world: layout of a decision's world pass.
        past: layout of the history, oldest decision first.
        world_read_by_action: indices of the world pass's tokens that actions read.
        past_read_by_action: as much of the history.
    """

    def __init__(self, preset: Preset, table: Mapping[str, frozenset[str]]) -> None:
        self._table, self._n_obs, self._n_waypoints = table, preset.n_obs, preset.n_waypoints
        self._history, self._per_decision = preset.history, preset.n_obs + preset.n_past
        self.world: Layout = [("obs", preset.n_obs), ("x", preset.n_future), ("m", preset.n_future)]
        self.past: Layout = [("obs", preset.n_obs), ("past_act", preset.n_past)] * preset.history
        self.world_read_by_action = self._read_by_action(self.world, {})
        self.past_read_by_action = self._read_by_action(self.past, {"obs": "past_obs"})

    def _read_by_action(self, layout: Layout, renamed: Mapping[str, str]) -> list[int]:
        kinds = [renamed.get(kind, kind) for kind, count in layout for _ in range(count)]
        return [token for token, kind in enumerate(kinds) if kind in self._table["a"]]

    def exists(self, filled: Tensor) -> Tensor:
        """Which decisions of a history exist, bool [B, k] -> which of its tokens, bool [B, k · tokens]."""
        return filled.repeat_interleave(self._per_decision, 1)

    def mask(self, now: Layout, filled: Tensor | None = None, own_observation: bool = False) -> Tensor:
        """Mask of the tokens `now` over the history's tokens and themselves: [n, n], or [B, 1, n, K] with a history.

        Args:
            now: layout of the current decision's tokens.
            filled: bool [B, k], which decisions of the history exist; None: there is no history.
            own_observation: whether the current observation's keys and values, computed before, follow the history's.
        """
        earlier = [*(self.past if filled is not None else []), *([("obs", self._n_obs)] if own_observation else [])]
        chunks = [torch.full((count,), place // 2) for place, (_, count) in enumerate(earlier)]
        own = sum(count for _, count in now)
        chunk = torch.cat([*chunks, torch.full((own,), self._history)])
        mask = attention_mask(kind_ids([*earlier, *now]), chunk, self._table)[-own:]
        if filled is None:
            return mask
        exists, mask = self.exists(filled), mask.to(filled.device)
        rest = exists.new_ones(len(exists), mask.shape[1] - exists.shape[1])
        return mask & torch.cat([exists, rest], 1)[:, None, None]

    def action_mask(self, context: int, exists: Tensor | None, draws: int, device: torch.device) -> Tensor | None:
        """Mask of R draws of the action chunk: each reads the context's tokens and itself; None: all.

        Args:
            context: number of the context's tokens.
            exists: bool [B, context], which of them exist; None: all.
            draws: R.
            device: where the mask goes.
        """
        if draws == 1 and exists is None:
            return None
        draw = torch.arange(draws, device=device).repeat_interleave(self._n_waypoints)
        own = draw[:, None] == draw[None, :]
        mask = torch.cat([own.new_ones(len(own), context), own], 1)
        if exists is None:
            return mask
        return mask & torch.cat([exists, own.new_ones(len(exists), len(own))], 1)[:, None, None]
