"""Acting and training on a GPU, which is pretended: tensors of two devices never meet, and seeds mean the same."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict, TensorDictBase

from aim_rl import evaluate, finetune, serve
from aim_rl.data.dataset import DemonstrationSet
from aim_rl.data.files import episode_path, write_episode
from aim_rl.model import AIM, PRESETS
from aim_rl.model.checkpoint import save_checkpoint
from aim_rl.rl.exploration import Sampler
from aim_rl.rl.policy import AimPolicy
from aim_rl.rollout.serving import PolicyServer
from aim_rl.runs.processes import Processes, place
from aim_rl.supervised.batches import micro_batches
from aim_rl.supervised.config import PretrainConfig
from aim_rl.supervised.trainer import accumulate_gradients, fit_normalisers, new_model

from .data.conftest import episode_of
from .pretend_gpu import CUDA, OnGpu, PretendedGpu

TINY = PRESETS["tiny"]
SAMPLERS = ["ode", "initial_noise", "flow_sde", "cps", "flow_noise"]
Observations = Callable[..., TensorDict]


def test_the_pretended_gpu_refuses_what_a_gpu_refuses() -> None:
    with PretendedGpu():
        there, here = torch.ones(3, device=CUDA), torch.ones(3)
        assert there.device == CUDA and (2 * there).device == CUDA and there.cpu().device == here.device
        for mixed in (lambda: there + here, lambda: torch.stack([there, here]), lambda: here[there.long()]):
            with pytest.raises(RuntimeError, match="same device"):
                mixed()
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        assert (there + torch.tensor(1.0))[here.long()].tolist() == [2, 2, 2]


def acted(model: AIM, observations: Observations, sampler: Sampler) -> list[TensorDictBase]:
    """Two decisions of three scenes."""
    torch.manual_seed(3)
    policy, batch = AimPolicy(model, TINY.execute, sampler, 0.5), observations(3)
    with_numbers = [batch.clone().update({"decision": torch.full((3, 1), number)}) for number in range(2)]
    return [policy(observed) for observed in with_numbers]


@pytest.mark.parametrize("history", [0, 2])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_decision_on_the_gpu_is_the_cpus_and_comes_back_to_the_environment(
    tiny_model: AIM, observations: Observations, sampler: Sampler, history: int
) -> None:
    model = tiny_model
    if history:
        torch.manual_seed(0)
        model = AIM(replace(TINY, history=history, world_steps=3)).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.15)
    expected = acted(copy.deepcopy(model), observations, sampler)
    with PretendedGpu():
        found = acted(model.to(CUDA), observations, sampler)
        assert all(isinstance(tensor, OnGpu) for tensor in (*model.parameters(), *model.buffers()))
    for ours, theirs in zip(found, expected, strict=True):
        assert set(ours.keys()) == set(theirs.keys())
        for key, tensor in ours.items():
            assert not isinstance(tensor, OnGpu), key
            assert torch.equal(tensor, theirs[key]), key
        assert isinstance(ours["action"].numpy(), np.ndarray)


def test_a_training_step_on_the_gpu_is_the_cpus(tmp_path: Path) -> None:
    for number in range(2):
        write_episode(episode_path(tmp_path, number), episode_of(seed=number))
    data = DemonstrationSet(tmp_path, TINY)
    config = PretrainConfig(task="click_bell", data=tmp_path, batch_size=2, preset="tiny")

    def step(device: torch.device) -> tuple[dict[str, float], AIM]:
        here = Processes(0, 1, device)
        model = new_model(config, here)
        fit_normalisers(model, data)
        place(model, here)
        losses = accumulate_gradients(model, micro_batches(data, config, here), config, here)
        torch.optim.AdamW(model.parameters(), 1e-3).step()
        return losses, model

    expected, ours = step(torch.device("cpu"))
    with PretendedGpu():
        losses, model = step(CUDA)
        assert {parameter.device for parameter in model.parameters()} == {CUDA}
        model.cpu()
    assert losses == pytest.approx(expected)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, ours.state_dict()[name], atol=1e-6, rtol=1e-5)


def test_commands_put_the_model_on_the_gpu(tmp_path: Path, tiny_model: AIM, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path / "stage1", tiny_model, {"task": "click_bell", "stage": 1})
    given: list[AIM] = []

    def evaluated(policy: AimPolicy, **_: Any) -> dict[int, bool]:
        given.append(policy.model)
        return {0: True}

    async def served(server: PolicyServer, *_: Any) -> None:
        given.append(server.model)

    for command in (evaluate, finetune, serve):
        monkeypatch.setattr(command, "gpu_or_cpu", lambda: CUDA)
    monkeypatch.setattr(evaluate, "run_episodes", evaluated)
    monkeypatch.setattr(serve, "run_server", served)
    monkeypatch.setattr("sys.argv", ["serve", "--checkpoint", str(tmp_path / "stage1")])
    with PretendedGpu():
        evaluate.evaluate(evaluate.EvaluateConfig(task="click_bell", checkpoint=tmp_path / "stage1"))
        serve.main()
        given.append(finetune.load_stage1(finetune.FinetuneConfig(task="click_bell"), tmp_path / "stage1"))
        assert [model.device for model in given] == [CUDA] * 3
