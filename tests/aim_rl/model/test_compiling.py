"""torch.compile of the blocks: the same numbers from one graph for all of them, and nothing else changes."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from aim_rl.model import AIM, Preset
from aim_rl.model.compiling import check_compiler, compile_blocks
from envs.errors import UserError

from .conftest import WANS, randomised, training_batch


@pytest.fixture
def without_a_compiler() -> Iterator[None]:
    """All of torch.compile but the generated code."""
    torch.compiler.reset()
    counters.clear()
    torch.compiler.set_default_backend("aot_eager")
    yield
    torch.compiler.set_default_backend(None)
    torch.compiler.reset()


def loss_and_gradients(model: AIM, preset: Preset) -> tuple[Tensor, dict[str, Tensor]]:
    loss = model.loss(training_batch(preset, 2), torch.Generator().manual_seed(0))["loss"]
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.usefixtures("without_a_compiler")
def test_compiled_blocks_train_as_others_do(tiny: Preset) -> None:
    preset = replace(tiny, depth=4, **WANS)
    plain, compiled = randomised(preset), randomised(preset)
    compile_blocks(compiled)
    compiled.recompute = True
    (expected, ours), (found, theirs) = (loss_and_gradients(model, preset) for model in (plain, compiled))
    torch.testing.assert_close(found, expected, atol=0, rtol=1e-5)
    assert ours.keys() == theirs.keys() and plain.state_dict().keys() == compiled.state_dict().keys()
    for name, gradient in ours.items():
        torch.testing.assert_close(theirs[name], gradient, atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
    assert not counters["graph_break"]
    # Of each group of tokens two graphs (obs, x, m and a), however many blocks there are.
    assert 0 < counters["stats"]["unique_graphs"] <= 8


def test_without_a_compiler_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match="C\\+\\+ compiler no-such-compiler and Python's headers"):
        check_compiler()
    monkeypatch.setenv("CXX", "sh")
    monkeypatch.setattr(sysconfig, "get_path", lambda _: "/nowhere")
    with pytest.raises(UserError, match="python3-dev"):
        check_compiler()
