"""`python -m aim_rl.doctor`: what this machine has, what is missing, and the exact line that fixes it.

Imports nothing but the standard library until it knows that the packages are there. Exit code 0 when every
command of the project can run here, else 2.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

_ROOT = Path(__file__).resolve().parents[1]
# Distribution name -> module name: what the four packages import, SAPIEN and OpenCV first because they also
# need system libraries.
_PACKAGES = {
    "sapien": "sapien",
    "opencv-python": "cv2",
    "torch": "torch",
    "torchrl": "torchrl",
    "tensordict": "tensordict",
    "gymnasium": "gymnasium",
    "numpy": "numpy",
    "h5py": "h5py",
    "huggingface-hub": "huggingface_hub",
    "imageio": "imageio",
    "imageio-ffmpeg": "imageio_ffmpeg",
    "safetensors": "safetensors",
    "tensorboard": "tensorboard",
    "tyro": "tyro",
    "rich": "rich",
    "typeguard": "typeguard",
    "msgpack": "msgpack",
    "websockets": "websockets",
    "av": "av",
    "matplotlib": "matplotlib",
    "pyarrow": "pyarrow",
    "psutil": "psutil",
    "stable-baselines3": "stable_baselines3",
}
_MIN_MEMORY_GIB = 6.0  # Stage I, measured on two cores when it held its data in memory
_MIN_DISK_GIB = 3.0  # a data set of 300 episodes, 1.7 GB of decoded frames and the runs


@dataclass(frozen=True)
class Finding:
    """One line of the report; `missing` stops the commands, `note` does not."""

    name: str
    verdict: Literal["ok", "note", "missing"]
    words: str
    fix: str = ""


def check_python() -> Finding:
    """Python 3.11 to 3.13."""
    words = f"{platform.python_version()} ({sys.executable})"
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding("Python", "ok", words)
    return Finding("Python", "missing", f"{words}; 3.11, 3.12 or 3.13 is needed", "make clean setup PYTHON=python3.11")


def check_installed() -> Finding | None:
    """Every package installed; None when they are."""
    absent = [name for name in _PACKAGES if not _installed_version(name)]
    if not absent:
        return None
    return Finding("packages", "missing", f"not installed: {', '.join(absent)}", "make setup")


def check_imports() -> Finding:
    """Every package imports (tried in a subprocess, about 5 s) and is of the version in constraints.txt."""
    imports = "".join(f"import {module}; print({name!r})\n" for name, module in _PACKAGES.items())
    result = subprocess.run([sys.executable, "-c", imports], capture_output=True, text=True, check=False)
    imported = set(result.stdout.split())
    broken = next((name for name in _PACKAGES if name not in imported), None)
    if broken is not None:
        reason = (result.stderr.strip().splitlines() or [f"exit code {result.returncode}"])[-1]
        # A missing system library is the rendering check's to fix; anything else is a broken installation.
        fix = "" if "cannot open shared object file" in reason else "make clean setup"
        return Finding("packages", "missing", f"cannot import {broken}: {reason}", fix)
    pinned = _pinned_versions()
    installed = {name: _installed_version(name) for name in _PACKAGES}
    other = [name for name, found in installed.items() if found.split("+")[0] != pinned.get(name, found)]
    if other:
        words = ", ".join(f"{name} {installed[name]} (tested with {pinned[name]})" for name in other)
        return Finding("packages", "note", words, "touch constraints.txt && make setup")
    named = ", ".join(f"{name} {installed[name]}" for name in ("torch", "torchrl", "gymnasium"))
    return Finding("packages", "ok", f"{named} and {len(_PACKAGES) - 3} more import")


def check_resources() -> list[Finding]:
    """CPU cores, memory and free disk space."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    disk = shutil.disk_usage(Path.cwd()).free / 2**30
    cores = len(os.sched_getaffinity(0))
    return [
        Finding("CPU", "ok", f"{cores} cores"),
        Finding("memory", "ok", f"{memory:.0f} GiB")
        if memory >= _MIN_MEMORY_GIB
        else Finding("memory", "note", f"{memory:.1f} GiB; training may need {_MIN_MEMORY_GIB:.0f}"),
        Finding("disk", "ok", f"{disk:.0f} GiB free")
        if disk >= _MIN_DISK_GIB
        else Finding("disk", "note", f"{disk:.1f} GiB free; a training run needs about {_MIN_DISK_GIB:.0f}"),
    ]


def check_gpu() -> Finding:
    """An NVIDIA driver, and a torch that can use it. None is needed."""
    from envs.rendering import this_machine

    driver = this_machine().nvidia_driver
    if not driver:
        return Finding("GPU", "ok", "no NVIDIA GPU; everything runs on the CPU")
    if _installed_version("torch").endswith("+cpu"):
        pip = f"{sys.executable} -m pip"
        fix = f"{pip} uninstall -y torch && {pip} install torch=={_installed_version('torch').split('+')[0]}"
        return Finding("GPU", "note", f"NVIDIA driver {driver}, but this torch is a CPU build", fix)
    return Finding("GPU", "ok", f"NVIDIA driver {driver}")


def check_rendering(install: bool) -> Finding:
    """SAPIEN renders one picture; with `install`, a missing Vulkan driver is installed where possible."""
    from envs.rendering import find_fix, probe_rendering, this_machine

    rendering = probe_rendering()
    if rendering.problem and install:
        fix = find_fix(rendering.problem, this_machine())
        if fix.installs_packages and _may_install():
            print(f"Installing a Vulkan driver (one or two minutes):\n  {fix.line}", flush=True)
            _run_quietly(fix.line)
            rendering = probe_rendering()
    if rendering.problem:
        fix = find_fix(rendering.problem, this_machine())
        return Finding("rendering", "missing", f"SAPIEN cannot render: {rendering.problem}", fix.line)
    return Finding("rendering", "ok", f"SAPIEN {version('sapien')} on {rendering.device}")


def examine(install: bool = False) -> list[Finding]:
    """Every check; those that need the packages only when they are there."""
    findings = [check_python(), *check_resources()]
    absent = check_installed()
    if absent:
        return [*findings, absent]
    # Rendering first: installing what it lacks also brings system libraries that packages load on import.
    return [*findings, check_gpu(), check_rendering(install), check_imports()]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m aim_rl.doctor",
        description="Say what this machine has, what is missing, and the exact line that fixes it.",
    )
    parser.add_argument("--install", action="store_true", help="install a missing Vulkan driver (root or sudo)")
    findings = examine(parser.parse_args().install)
    for finding in findings:
        print(f"  {finding.verdict:8}{finding.name:11}{finding.words}")
    missing = [finding for finding in findings if finding.verdict == "missing"]
    for finding in findings:
        if finding.fix:
            print(f"\nTo fix {finding.name}, run:\n  {finding.fix}")
    print("\nSomething is missing; fix it as said above and try again." if missing else "Ready.")
    sys.exit(2 if missing else 0)


def _installed_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _pinned_versions() -> dict[str, str]:
    """constraints.txt as name -> version; empty outside a checkout."""
    file = _ROOT / "constraints.txt"
    lines = file.read_text().splitlines() if file.exists() else []
    pins = [line.split("==") for line in lines if "==" in line and not line.startswith("#")]
    return {name.strip().lower().replace("_", "-"): pin.strip() for name, pin in pins}


def _may_install() -> bool:
    """Root, or a sudo that asks for no password or has a terminal to ask on."""
    if os.geteuid() == 0:
        return True
    if shutil.which("sudo") is None:
        return False
    return (
        sys.stdin.isatty() or subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0
    )


def _run_quietly(line: str) -> None:
    """Run a shell line; its output is shown only when it fails."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    result = subprocess.run(
        f"({line}) 2>&1",
        shell=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        check=False,
    )
    if result.returncode != 0:
        print("\n".join(result.stdout.splitlines()[-15:]))


if __name__ == "__main__":
    main()
