"""Stage I on two processes (FSDP2 on gloo) takes the steps of one, and goes on from what either left."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from aim_rl.data.dataset import DemonstrationSet
from aim_rl.data.files import episode_path, write_episode
from aim_rl.model import AIM, PRESETS, streams
from aim_rl.runs.folder import one_thread
from aim_rl.runs.processes import ALONE
from aim_rl.supervised.batches import micro_batches
from aim_rl.supervised.config import PretrainConfig
from aim_rl.supervised.trainer import Trainer, accumulate_gradients, new_model, pretrain
from envs.errors import UserError

from .. import compiled_pretrain
from ..data.conftest import episode_of

SIZES = ["--preset", "tiny", "--batch-size", "4", "--micro-batch", "2", "--learning-rate", "0.01"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demonstrations")
    for number in range(3):
        write_episode(episode_path(folder, number), episode_of(seed=number))
    return folder


def alone(data: Path, out: Path, steps: int, resume: bool = False, preset: str = "tiny") -> None:
    config = PretrainConfig(
        task="stack_blocks_two",
        data=data,
        out=out,
        resume=out if resume else None,
        steps=steps,
        batch_size=4,
        micro_batch=2,
        learning_rate=0.01,
        preset=preset,
    )
    with one_thread():
        pretrain(config)


def two_processes(*arguments: str, module: str = "aim_rl.pretrain") -> None:
    # By number and interface: otherwise torchrun and gloo look this machine up by name, which may fail or take long.
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    launch += ["--nproc-per-node", "2", "-m", module]
    environment, root = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}, Path(__file__).parents[3]
    done = subprocess.run([*launch, *arguments], env=environment, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def curve(run: Path, name: str) -> dict[int, float]:
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    return {event.step: event.value for event in events.Scalars(f"stage1/{name}")}


def weights(run: Path) -> dict[str, Tensor]:
    return load_file(run / "checkpoint" / "model.safetensors")


def test_two_processes_take_the_steps_of_one_and_either_resumes_the_other(tmp_path: Path, data: Path) -> None:
    """The first step agrees to rounding; from then on, Adam makes full steps of gradients that are rounding alone."""
    one, two = tmp_path / "one", tmp_path / "two"
    alone(data, one, 3)
    two_processes("--task", "stack_blocks_two", "--data", str(data), "--out", str(two), "--steps", "3", *SIZES)
    for name in ("loss", "gradient_norm"):
        ours, theirs = curve(two, name), curve(one, name)
        assert ours[0] == pytest.approx(theirs[0], rel=1e-5)
        assert ours[2] == pytest.approx(theirs[2], rel=0.01) and theirs[2] != pytest.approx(theirs[0], rel=0.05)
    # What one process left goes on with two, compiled and with gradient checkpointing, and the other way round.
    alone(data, two, 5, resume=True)
    compiled = ["--resume", str(one), "--steps", "5", "--compile", "--recompute"]
    two_processes(*compiled, *SIZES, module=compiled_pretrain.__name__)
    assert curve(two, "loss")[4] == pytest.approx(curve(one, "loss")[4], rel=0.01)
    for name, tensor in weights(two).items():
        torch.testing.assert_close(tensor, weights(one)[name], atol=1e-4, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


def test_two_processes_take_the_steps_of_one_with_all_that_the_full_size_has(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """History and its noise, a time per frame, an observation of latents: they enter the sharded model elsewhere."""
    monkeypatch.setitem(PRESETS, "as_wan", compiled_pretrain.AS_WAN)
    one, two = tmp_path / "one", tmp_path / "two"
    alone(data, one, 2, preset="as_wan")
    task = ["--task", "stack_blocks_two", "--data", str(data), "--out", str(two), "--steps", "2"]
    two_processes(*task, *SIZES, "--preset", "as_wan", module=compiled_pretrain.__name__)
    for name in ("loss", "gradient_norm", "held_out/loss", "held_out/last_waypoint_error_m"):
        ours, theirs = curve(two, name), curve(one, name)
        assert ours.keys() == theirs.keys()
        assert [*ours.values()] == pytest.approx([*theirs.values()], rel=1e-3)
    assert curve(two, "loss")[0] == pytest.approx(curve(one, "loss")[0], rel=1e-5)


def test_a_batch_in_parts_has_the_gradient_of_its_parts_mean_and_recomputing_changes_nothing(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demonstrations, blocks = DemonstrationSet(data, PRESETS["tiny"]), []
    layer = streams._layer

    def counted(*arguments: Any) -> Any:
        blocks.append(1)
        return layer(*arguments)

    monkeypatch.setattr(streams, "_layer", counted)

    def gradients(micro: int, batch: int, step: int, recompute: bool = False) -> tuple[float, list[Tensor]]:
        config = PretrainConfig(task="stack_blocks_two", data=data, batch_size=batch, micro_batch=micro, preset="tiny")
        model = new_model(config, ALONE)
        for layer in (model.action.stream.head, model.x.head, model.m.head):
            torch.nn.init.normal_(layer.weight)
        model.recompute = recompute
        losses = accumulate_gradients(model, micro_batches(demonstrations, config, ALONE, step), config, ALONE)
        return losses["loss"], [parameter.grad for parameter in model.parameters() if parameter.grad is not None]

    loss, whole = gradients(2, 4, 0)
    parts = [gradients(2, 2, step) for step in (0, 1)]  # the same two micro-batches, as steps of their own
    assert loss == pytest.approx((parts[0][0] + parts[1][0]) / 2, rel=1e-5)
    for gradient, first, second in zip(whole, parts[0][1], parts[1][1], strict=True):
        torch.testing.assert_close(gradient, (first + second) / 2, atol=1e-5, rtol=1e-4)
    blocks.clear()
    gradients(2, 4, 0)
    once = len(blocks)
    again, recomputed = gradients(2, 4, 0, recompute=True)
    assert len(blocks) == once + 2 * once  # forward, and once more in the backward pass
    assert again == pytest.approx(loss, rel=1e-6)
    for gradient, other in zip(whole, recomputed, strict=True):
        torch.testing.assert_close(gradient, other)


def test_bf16_multiplies_in_bfloat16_but_embeds_times_and_keeps_weights_in_float32(data: Path) -> None:
    config = PretrainConfig(task="stack_blocks_two", data=data, batch_size=2, preset="tiny", bf16=True)
    model, computed = new_model(config, ALONE), {}
    for name in ("x.blocks.0.qkv", "m.blocks.1.ff.2", "action.stream.head", "x.time", "action.stream.time"):
        model.get_submodule(name).register_forward_hook(lambda *call, n=name: computed.update({n: call[-1].dtype}))
    batches = micro_batches(DemonstrationSet(data, PRESETS["tiny"]), config, ALONE)
    losses = accumulate_gradients(model, batches, config, ALONE)
    assert math.isfinite(losses["loss"])
    times = {name: computed.pop(name) for name in ("x.time", "action.stream.time")}
    assert set(computed.values()) == {torch.bfloat16} and len(computed) == 3
    assert set(times.values()) == {torch.float32}
    for parameter in model.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad is None or parameter.grad.dtype == torch.float32


def test_what_is_saved_is_the_average_of_the_weights(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PretrainConfig(task="stack_blocks_two", data=data, steps=3, batch_size=2, preset="tiny", ema=0.5)
    seen: list[Tensor] = []
    update = AveragedModel.update_parameters

    def noted(self: AveragedModel, model: AIM) -> None:
        seen.append(model.m.embedding.weight.detach().clone())
        update(self, model)

    monkeypatch.setattr(AveragedModel, "update_parameters", noted)
    (tmp_path / "run").mkdir()
    with one_thread():
        Trainer(config, DemonstrationSet(data, PRESETS["tiny"]), tmp_path / "run").train()
    first, second, third = seen
    assert not torch.equal(second, third)
    average = first / 4 + second / 4 + third / 2  # the first step's weights are where it starts
    torch.testing.assert_close(weights(tmp_path / "run")["m.embedding.weight"], average)


def test_a_batch_that_cannot_be_shared_out(data: Path) -> None:
    config = PretrainConfig(task="stack_blocks_two", data=data, batch_size=6, micro_batch=4, preset="tiny")
    with pytest.raises(UserError, match="must be a multiple of 4"):
        pretrain(config)
