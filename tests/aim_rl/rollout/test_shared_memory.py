"""A /dev/shm that is too small and too few descriptors: one sentence before work starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

from aim_rl.rollout import shared_memory
from aim_rl.rollout.shared_memory import check_shared_memory
from envs.errors import UserError


class Disk:
    def __init__(self, free: int) -> None:
        self.free = free


def test_a_small_shared_memory_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = nn.Linear(2**10, 2**10)  # 4 MiB, and a page for the bias
    needed = 4 * 2**20 + 4096
    monkeypatch.setattr(shared_memory.shutil, "disk_usage", lambda _: Disk(needed - 1))
    with pytest.raises(UserError, match=r"share 4 MiB of weights, and .* has 4 MiB free; .*--shm-size=2g"):
        check_shared_memory(weights, 2, tmp_path)
    check_shared_memory(weights, 2, tmp_path / "no such folder")  # other systems
    monkeypatch.setattr(shared_memory.shutil, "disk_usage", lambda _: Disk(needed))
    check_shared_memory(weights, 2, tmp_path)


def test_what_is_shared_already_needs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory.shutil, "disk_usage", lambda _: Disk(0))
    check_shared_memory(nn.Linear(2, 2).share_memory(), 2, tmp_path)


LIMITED = """
import resource, sys
from torch import nn
from aim_rl.rollout.shared_memory import check_shared_memory
from envs.errors import exit_cleanly
soft, hard = map(int, sys.argv[1:])
model = nn.ModuleList([nn.Linear(1, 1) for _ in range(50)])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
def main():
    check_shared_memory(model, 2)
    model.share_memory()
    print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
exit_cleanly(main)
"""


@pytest.mark.parametrize(("soft", "hard", "code"), [(64, 4096, 0), (64, 64, 2)])
def test_few_descriptors_are_raised_or_refused(soft: int, hard: int, code: int) -> None:
    command = [sys.executable, "-c", LIMITED, str(soft), str(hard)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.returncode == code, done.stderr
    if code:
        assert done.stderr.startswith("error: the worker processes need 244 open files, and 64 are allowed; ")
        assert done.stderr.count("\n") == 1
    else:
        assert done.stdout == "244\n"


def test_torchs_words_for_these_limits_are_known() -> None:
    """Without the check, torch itself says so; a command ends in one sentence then, too."""
    code = """
import resource, torch
from envs.errors import exit_cleanly
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
exit_cleanly(lambda: [torch.zeros(1).share_memory_() for _ in range(64)])
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert (done.returncode, done.stderr) == (2, "error: too many open files; raise the limit with `ulimit -n 4096`\n")


def test_tensors_that_share_a_storage_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (nn.Linear(2**10, 2**10, bias=False) for _ in range(2))
    other.weight = one.weight
    tied = nn.ModuleList([one, other])
    tied.register_buffer("view", one.weight.detach()[:1])
    monkeypatch.setattr(shared_memory.shutil, "disk_usage", lambda _: Disk(4 * 2**20))
    check_shared_memory(tied, 1, tmp_path)
