"""What can be imported without a simulator."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "modules",
    ["aim_rl.rl.critic, aim_rl.rl.policy", "aim_rl.model", "rewards", "envs.backend, envs.wrappers, envs.contacts"],
)
def test_models_rewards_and_wrappers_load_no_simulator(modules: str) -> None:
    program = f"import sys, {modules}; sys.exit('sapien' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
