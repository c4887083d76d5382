"""The doctor as a user meets it: its words and its exit code."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from aim_rl import doctor


def run_doctor(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "aim_rl.doctor"],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
    )


def test_a_complete_machine_is_ready() -> None:
    result = run_doctor()
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"ok +rendering +SAPIEN", result.stdout)
    assert re.search(r"ok +packages +torch 2\.13\.0", result.stdout)


def test_without_a_vulkan_device_it_names_the_line_and_exits_2() -> None:
    result = run_doctor(VK_ICD_FILENAMES="/nowhere/icd.json", VK_DRIVER_FILES="/nowhere/icd.json")
    assert result.returncode == 2
    assert re.search(r"missing +rendering .*failed to find a rendering device", result.stdout)
    assert "unset VK_DRIVER_FILES VK_ICD_FILENAMES" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr


def test_a_missing_package_is_named_with_make_setup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(doctor._PACKAGES, "no-such-package", "no_such_package")
    last = doctor.examine()[-1]
    assert (last.verdict, last.fix) == ("missing", "make setup")
    assert "no-such-package" in last.words


def test_it_asks_for_every_package_that_the_commands_import() -> None:
    root = Path(doctor.__file__).parents[1]
    names = {
        name.partition(".")[0]
        for package in ("aim_rl", "envs", "rewards", "experiments")
        for path in (root / package).rglob("*.py")
        for node in ast.parse(path.read_text()).body  # what is imported further in is optional
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    ours = {"aim_rl", "envs", "rewards", "experiments"}
    assert names - ours - set(sys.stdlib_module_names) <= set(doctor._PACKAGES.values())
