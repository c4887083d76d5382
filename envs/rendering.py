"""Can SAPIEN render on this machine, and if not, which line fixes it?

"failed to find a rendering device" is SAPIEN's most reported installation failure. Its causes: no Vulkan driver, one
that is too old (Debian 12's own Mesa), a missing system library, or an NVIDIA driver whose graphics part is not visible
(containers). This module finds the cause and names the line that fixes it.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from envs.cache import read_cached, remember
from envs.errors import UserError

# Runs in a process of its own, because a broken driver may end it with a segmentation fault.
_PROBE = """
import cv2, sapien
scene = sapien.Scene()
scene.set_ambient_light([1.0, 1.0, 1.0])
box = scene.create_actor_builder()
box.add_box_visual(half_size=[0.5, 0.5, 0.5])
box.initial_pose = sapien.Pose([1.0, 0.0, 0.0])
box.build_static()
camera = scene.add_camera("probe", 8, 8, 1.0, 0.1, 10.0)
scene.update_render()
camera.take_picture()
picture = camera.get_picture("Color")
if picture[4, 4, :3].max() == 0:
    raise RuntimeError("the rendered picture is black")
print("device:", scene.render_system.device.name)
"""

_ICD_DIRECTORIES = (Path("/usr/share/vulkan/icd.d"), Path("/etc/vulkan/icd.d"))
_NVIDIA_ELSEWHERE = Path("/usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json")  # Kubernetes device plugins
_ICD_VARIABLES = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")
# libgl1 and libglib2.0-0 are what OpenCV (SAPIEN requires it) loads and a bare machine lacks.
_PACKAGES = "mesa-vulkan-drivers libvulkan1 libgl1 libglib2.0-0"
_BACKPORTS = "deb http://deb.debian.org/debian bookworm-backports main"


@dataclass(frozen=True)
class Machine:
    """What `find_fix` looks at."""

    distribution: str  # os-release's ID, e.g. "debian"
    release: str  # os-release's VERSION_ID, e.g. "12"
    has_apt: bool
    nvidia_driver: str  # its version, "unknown" if it cannot be read, "" without an NVIDIA GPU
    nvidia_graphics: bool  # the driver's Vulkan library can be loaded
    in_container: bool
    is_root: bool
    has_sudo: bool


@dataclass(frozen=True)
class Fix:
    """What fixes rendering: a shell line, or a sentence where there is no such line."""

    line: str
    installs_packages: bool = False  # the line only installs Debian packages, so that set-up may run it


@dataclass(frozen=True)
class Rendering:
    """Result of rendering one picture: the device's name, or the problem in SAPIEN's words."""

    device: str = ""
    problem: str = ""


def probe_rendering() -> Rendering:
    """Renders one small picture in a subprocess (about 4 s) and remembers a success."""
    try:
        result = subprocess.run(
            [sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=120, check=False
        )
    except subprocess.TimeoutExpired:
        return Rendering(problem="rendering one picture took more than two minutes")
    device = [line[8:] for line in result.stdout.splitlines() if line.startswith("device: ")]
    if device:
        remember(_cache_name(), _fingerprint())
        return Rendering(device=device[-1])
    # SAPIEN may crash on its way out after it has said what is wrong, so its words go before the signal.
    errors = re.findall(r"^\w*Error: .*", result.stderr, flags=re.MULTILINE)
    return Rendering(problem=errors[-1] if errors else f"the renderer ended with code {result.returncode}")


def require_rendering() -> None:
    """Checks that SAPIEN can render here. A success is remembered until the machine's Vulkan set-up changes.

    Raises:
        UserError: it cannot; the sentence names the line that fixes it.
    """
    if read_cached(_cache_name()) == _fingerprint():
        return
    rendering = probe_rendering()
    if rendering.problem:
        fix = find_fix(rendering.problem, this_machine())
        raise UserError(f"SAPIEN cannot render on this machine ({rendering.problem}); to fix it: {fix.line}")


def this_machine() -> Machine:
    """This machine, as `find_fix` looks at it."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    return Machine(
        distribution=release.get("ID", ""),
        release=release.get("VERSION_ID", ""),
        has_apt=shutil.which("apt-get") is not None,
        nvidia_driver=_nvidia_driver(),
        nvidia_graphics=_loads("libGLX_nvidia.so.0"),
        in_container=any(map(os.path.exists, ("/.dockerenv", "/run/.containerenv")))
        or "KUBERNETES_SERVICE_HOST" in os.environ,
        is_root=os.geteuid() == 0,
        has_sudo=shutil.which("sudo") is not None,
    )


def find_fix(problem: str, machine: Machine) -> Fix:
    """The line that fixes `problem` (SAPIEN's or the loader's words) on `machine`."""
    named = [name for name in _ICD_VARIABLES if os.environ.get(name)]
    if any(not os.path.exists(path) for name in named for path in os.environ[name].split(os.pathsep)):
        return Fix(f"unset {' '.join(named)}   # they name driver files that do not exist")
    if "cannot open shared object file" in problem and machine.nvidia_driver:
        return Fix(_as_root("apt-get update && apt-get install -y libgl1 libglib2.0-0", machine))
    return _fix_nvidia(machine) if machine.nvidia_driver else _fix_mesa(machine)


def _fix_mesa(machine: Machine) -> Fix:
    """Without an NVIDIA GPU: Mesa's drivers, among them lavapipe for the CPU, from 23.1 on."""
    install = "apt-get update && apt-get install -y --no-install-recommends"
    release = (machine.distribution, machine.release)
    if not machine.has_apt or release in {("debian", "11"), ("ubuntu", "20.04")}:
        return Fix("install Mesa 23.1 or newer with its Vulkan drivers (lavapipe), or use Debian 12 or Ubuntu 22.04")
    if release == ("debian", "12"):
        suite = f'echo "{_BACKPORTS}" > /etc/apt/sources.list.d/bookworm-backports.list'
        line = f"{suite} && {install} -t bookworm-backports {_PACKAGES}"
    else:
        line = f"{install} {_PACKAGES}"
    return Fix(_as_root(line, machine), installs_packages=True)


def _fix_nvidia(machine: Machine) -> Fix:
    """With an NVIDIA GPU: the usual cause is a driver whose graphics part is not installed or not visible."""
    if not machine.nvidia_graphics:
        if machine.in_container:
            return Fix("start the container with: docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=all ...")
        major = machine.nvidia_driver.split(".")[0]
        if machine.distribution == "ubuntu" and major.isdigit():
            return Fix(_as_root(f"apt-get update && apt-get install -y libnvidia-gl-{major}", machine))
        return Fix(f"install the Vulkan library (libGLX_nvidia.so.0) of NVIDIA driver {machine.nvidia_driver}")
    if any((directory / "nvidia_icd.json").exists() for directory in _ICD_DIRECTORIES):
        return Fix("nvidia-smi && vulkaninfo --summary   # if one fails, reboot or reinstall the NVIDIA driver")
    if _NVIDIA_ELSEWHERE.exists():
        return Fix(f"export VK_ICD_FILENAMES={_NVIDIA_ELSEWHERE}")
    icd = {
        "file_format_version": "1.0.0",
        "ICD": {"library_path": "libGLX_nvidia.so.0", "api_version": "1.3.0"},
    }
    write = f"echo {shlex.quote(json.dumps(icd))} > /etc/vulkan/icd.d/nvidia_icd.json"
    return Fix(_as_root(f"mkdir -p /etc/vulkan/icd.d && {write}", machine))


def _as_root(line: str, machine: Machine) -> str:
    if machine.is_root:
        return line
    return f"{'sudo sh' if machine.has_sudo else 'su'} -c {shlex.quote(line)}"


def _nvidia_driver() -> str:
    """The NVIDIA driver's version. Device files decide: /proc shows the host's driver in any container."""
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        return ""
    proc = Path("/proc/driver/nvidia/version")
    words = proc.read_text().split() if proc.exists() else []
    return next((word for word in words if word[:1].isdigit() and word.count(".") >= 1), "unknown")


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _cache_name() -> str:
    return f"rendering-{platform.node()}.json"  # a home may be shared by machines


def _fingerprint() -> str:
    """Everything that decides whether rendering works: SAPIEN, the drivers, the variables that name them."""
    files = [file for directory in _ICD_DIRECTORIES for file in sorted(directory.glob("*.json"))]
    seen = {
        "sapien": version("sapien"),
        "drivers": [[str(file), os.path.getmtime(file)] for file in files if os.path.exists(file)],
        "nvidia": _nvidia_driver(),
        "environment": {name: os.environ.get(name, "") for name in (*_ICD_VARIABLES, "LD_LIBRARY_PATH")},
    }
    return json.dumps(seen)
