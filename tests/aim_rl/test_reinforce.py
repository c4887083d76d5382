"""Stage II's loop on made-up rollouts, without a simulator: its reward options reach the run's log and weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensordict import TensorDict, TensorDictBase

from aim_rl import finetune
from aim_rl.finetune import FinetuneConfig, reinforce
from aim_rl.grpo import GrpoConfig
from aim_rl.model import AIM, PRESETS
from aim_rl.policy import AimPolicy

TINY, DECISIONS = PRESETS["tiny"], 3


class MadeUp:
    """Two rollouts of one seed at a time, of which the first succeeds with its last control step; then a fault."""

    def __init__(self, policy: AimPolicy, observations: Callable[..., TensorDict]) -> None:
        self._policy, self._observations = policy, observations
        self._seed = self.restarts = 0

    def __iter__(self) -> Iterator[list[TensorDictBase]]:
        while True:
            self._seed += 1
            yield list(self._batch(self._seed).unbind(0))
            self.restarts += 1

    def state_dict(self) -> dict[str, int]:
        return {"seed": self._seed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._seed = state["seed"]

    def _batch(self, seed: int) -> TensorDictBase:
        batch = self._policy(self._observations(2, DECISIONS))
        flags = torch.zeros(2, DECISIONS, TINY.execute, dtype=torch.bool)
        success = flags.clone()
        success[0, -1, -1] = True
        number = torch.full((2, DECISIONS, 1), seed)
        height, width = TINY.head_size
        intrinsic = torch.tensor([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]])
        extrinsic = torch.tensor([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 3.0]])
        batch["seed"], batch["decision"] = number, torch.arange(DECISIONS)[None, :, None].expand(2, -1, 1).clone()
        batch["head_camera_intrinsic"] = intrinsic.expand(2, DECISIONS, 3, 3).clone()
        batch["head_camera_extrinsic"] = extrinsic.expand(2, DECISIONS, 3, 4).clone()
        batch["progress"] = torch.rand(2, DECISIONS, TINY.execute)
        batch["next", "progress"] = torch.rand(2, DECISIONS, TINY.execute)
        batch["next", "step_success"], batch["next", "executed"] = success, ~flags
        batch["next", "terminated"], batch["next", "restarts"] = success.any(-1, keepdim=True), 0 * number
        return batch

    def shutdown(self) -> None:
        pass


def test_the_ablation_and_the_controls_run_through_the_loop(
    tmp_path: Path, tiny_model: AIM, observations: Callable[..., TensorDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetune, "Simulators", lambda _, policy, *__: MadeUp(policy, observations))
    world = tiny_model.m.embedding.weight.detach().clone()
    head = tiny_model.action.stream.head.weight.detach().clone()
    config = FinetuneConfig(
        "click_bell",
        iterations=2,
        groups=2,
        sampler="flow_noise",
        noise_level=0.16,
        shaping="additive",
        maps="other_scene",
        anneal=True,
        train_world=True,
        lambda_dense=1.0,
        grpo=GrpoConfig(advantage="group", learning_rate=1e-3),
    )
    totals = reinforce(config, "click_bell", tiny_model, tmp_path)
    assert totals["environment_steps"] == 2 * 4 * DECISIONS * TINY.execute
    assert not torch.equal(tiny_model.m.embedding.weight, world)
    assert not torch.equal(tiny_model.action.stream.head.weight, head)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()

    def logged(name: str) -> list[float]:
        return [event.value for event in events.Scalars(f"stage2/{name}")]

    assert logged("watch/alarm") == [0, 0] and len(logged("watch/hovering")) == 2
    assert logged("simulator_restarts") == [1, 2]  # between two batches, not since the beginning
    first, second = zip(logged("return"), logged("return_dense"), logged("return_sparse"), strict=True)
    assert first[0] == pytest.approx(first[1] + first[2], abs=1e-4)
    assert second[0] == pytest.approx(0.5 * second[1] + second[2], abs=1e-4)  # half way, half the weight
