"""Where a run computes: commit, packages and machine, as its config.json, TensorBoard and its report say it."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
PACKAGES = ("aim_rl", "torch", "torchrl", "sapien", "gymnasium", "numpy")


def environment() -> dict[str, str]:
    """Names and values in words: commit, Python, packages, system, processor, memory, GPU."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "commit": _commit(),
        "Python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "system": platform.platform(),
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{memory:.0f} GiB",
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def _commit() -> str:
    """The commit of the checkout, with `-dirty` if files were changed."""
    if not (ROOT / ".git").exists():  # installed without one, perhaps inside the folder of another project
        return "not a git checkout"
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown, git could not say it"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # a checkout is imported without being installed
        return "not installed"


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()
