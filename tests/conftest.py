"""A policy with random weights at the tiny size, and rollouts of it on random observations: no simulator."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch
from tensordict import TensorDict, TensorDictBase

from aim_rl.model import AIM, PRESETS, tokenize
from aim_rl.rl.policy import AimPolicy

# A script's background job, as which CI may run, ignores Ctrl-C, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def tiny_model() -> AIM:
    """Every weight is random, so that no zero-initialised layer hides a path."""
    torch.manual_seed(0)
    model = AIM(PRESETS["tiny"])
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    model.waypoints.std.fill_(0.05)
    return model.eval()


def _observations(*batch: int) -> TensorDict:
    preset, generator = PRESETS["tiny"], torch.Generator().manual_seed(1)

    def image(size: tuple[int, int]) -> torch.Tensor:
        return torch.randint(0, 256, (*batch, *size, 3), dtype=torch.uint8, generator=generator)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*batch, *shape, generator=generator)

    poses = {
        f"{arm}_endpose": torch.cat([normal(3), torch.nn.functional.normalize(normal(4), dim=-1)], -1)
        for arm in ("left", "right")
    }
    cameras = {"head_camera": image(preset.head_size)}
    cameras |= {f"{side}_camera": image(preset.wrist_size) for side in ("left", "right")}
    joints = {"qpos": 0.3 * normal(14), "qpos_measured": 0.3 * normal(14)}
    text = tokenize("stack the green block on the red block", preset).expand(*batch, -1)
    return TensorDict(cameras | joints | poses | {"text": text}, batch)


@pytest.fixture
def observations() -> Callable[..., TensorDict]:
    """`observations(*batch)`: random pictures, joints and poses under the environment's keys."""
    return _observations


@pytest.fixture
def act() -> Callable[..., TensorDictBase]:
    """`act(policy, rollouts, decisions)`: fresh rollouts [rollouts, decisions] of a policy, without rewards."""

    def run(policy: AimPolicy, rollouts: int = 4, decisions: int = 3) -> TensorDictBase:
        torch.manual_seed(2)
        tensordict = policy(_observations(rollouts, decisions))
        tensordict["collector", "mask"] = torch.ones(rollouts, decisions, dtype=torch.bool)
        return tensordict

    return run


@pytest.fixture
def closed(tmp_path: Path) -> Callable[..., AbstractContextManager[None]]:
    """`with closed(*paths)`: these paths below `tmp_path` may not be read. Root, who may read all, is nobody inside."""

    @contextmanager
    def close(*paths: Path) -> Iterator[None]:
        for folder in [tmp_path, *tmp_path.parents]:
            if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
                folder.chmod(0o755)  # pytest's are its user's alone
        modes, user = {path: path.stat().st_mode for path in paths}, os.geteuid()
        for path in paths:
            path.chmod(0)
        if user == 0:
            os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(user)
            for path, mode in modes.items():
                path.chmod(mode)

    return close
