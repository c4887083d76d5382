"""Which line fixes rendering, machine by machine, and what a command does when SAPIEN cannot render."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from envs import rendering
from envs.errors import UserError, exit_cleanly
from envs.rendering import Machine, Rendering, find_fix, require_rendering

NO_DEVICE = "RuntimeError: failed to find a rendering device"
DEBIAN_12 = Machine(
    distribution="debian",
    release="12",
    has_apt=True,
    nvidia_driver="",
    nvidia_graphics=False,
    in_container=False,
    is_root=True,
    has_sudo=True,
)
NVIDIA = dataclasses.replace(DEBIAN_12, distribution="ubuntu", release="22.04", nvidia_driver="580.126.09")


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"):
        monkeypatch.delenv(name, raising=False)


def test_debian_12_takes_mesa_from_backports() -> None:
    fix = find_fix(NO_DEVICE, DEBIAN_12)
    assert "bookworm-backports main" in fix.line
    assert "-t bookworm-backports mesa-vulkan-drivers libvulkan1" in fix.line
    assert fix.installs_packages


def test_ubuntu_takes_its_own_mesa_through_sudo() -> None:
    ubuntu = dataclasses.replace(DEBIAN_12, distribution="ubuntu", release="24.04", is_root=False)
    fix = find_fix(NO_DEVICE, ubuntu)
    assert fix.line.startswith("sudo sh -c ")
    assert "mesa-vulkan-drivers" in fix.line and "backports" not in fix.line
    assert find_fix(NO_DEVICE, dataclasses.replace(ubuntu, has_sudo=False)).line.startswith("su -c ")


def test_a_distribution_without_apt_gets_a_sentence() -> None:
    fix = find_fix(NO_DEVICE, dataclasses.replace(DEBIAN_12, distribution="fedora", has_apt=False))
    assert "Mesa 23.1" in fix.line and not fix.installs_packages


def test_an_nvidia_machine_is_never_changed() -> None:
    container = dataclasses.replace(NVIDIA, in_container=True)
    assert "NVIDIA_DRIVER_CAPABILITIES=all" in find_fix(NO_DEVICE, container).line
    assert "libnvidia-gl-580" in find_fix(NO_DEVICE, NVIDIA).line
    missing_library = "ImportError: libGL.so.1: cannot open shared object file: No such file or directory"
    assert "libgl1" in find_fix(missing_library, NVIDIA).line
    for machine in (container, NVIDIA):
        assert not find_fix(NO_DEVICE, machine).installs_packages
        assert not find_fix(missing_library, machine).installs_packages


def test_nvidia_without_its_driver_file_gets_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rendering, "_ICD_DIRECTORIES", (tmp_path,))
    with_graphics = dataclasses.replace(NVIDIA, nvidia_graphics=True)
    assert "libGLX_nvidia.so.0" in find_fix(NO_DEVICE, with_graphics).line
    (tmp_path / "nvidia_icd.json").touch()
    assert "nvidia-smi" in find_fix(NO_DEVICE, with_graphics).line


def test_variables_that_name_no_file_are_to_be_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VK_DRIVER_FILES", "/nowhere/icd.json")
    assert find_fix(NO_DEVICE, DEBIAN_12).line.startswith("unset VK_DRIVER_FILES")


def test_a_success_is_remembered_until_the_driver_changes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rendering.remember(rendering._cache_name(), rendering._fingerprint())
    monkeypatch.setattr(rendering, "probe_rendering", lambda: Rendering(problem=NO_DEVICE))
    require_rendering()  # the probe would fail
    monkeypatch.setenv("VK_ICD_FILENAMES", "/nowhere/icd.json")
    with pytest.raises(UserError, match=r"failed to find a rendering device.*unset VK_ICD_FILENAMES"):
        require_rendering()


def test_a_user_error_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise UserError("unknown task 'x'; try 'y'")

    with pytest.raises(SystemExit) as stopped:
        exit_cleanly(main)
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: unknown task 'x'; try 'y'\n"
