"""Long work goes on when nobody reads what it prints."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from envs.output import optional_output

COMMAND = """
import sys, time
from pathlib import Path
from rich.console import Console
from aim_rl.runs import progress
from envs.errors import UserError, exit_cleanly

def main():
    progress.PLAIN_EVERY = 0.0
    with progress.progress("work", 20, "steps") as bar:
        for done in range(1, 21):
            bar.update(done, "x" * 1000)
            print("warning", file=sys.stderr, flush=True)
    Console().print("a table")
    Path(sys.argv[1]).write_text("done")
    if len(sys.argv) > 2:
        raise UserError("at the end")

exit_cleanly(main)
"""


def run(result: Path, *more: str, stdout: int | None = None, before: str = "", stderr: int = subprocess.PIPE) -> int:
    command = [sys.executable, "-c", before + COMMAND, str(result), *more]
    done = subprocess.run(command, stdout=stdout, stderr=stderr, text=True, cwd=Path(__file__).parents[2], check=False)
    assert result.read_text() == "done", done.stderr
    assert not done.stderr or "Error" not in done.stderr, done.stderr
    return done.returncode


@pytest.mark.parametrize("both", [False, True])
def test_a_reader_that_goes_away_stops_nothing(tmp_path: Path, both: bool) -> None:
    read, write = os.pipe()
    os.close(read)
    assert run(tmp_path / "result", stdout=write, stderr=write if both else subprocess.PIPE) == 0
    assert run(tmp_path / "result", "fails", stdout=write) == 2  # errors keep their exit code
    os.close(write)


def test_output_that_was_closed_from_the_start_stops_nothing(tmp_path: Path) -> None:
    closed = "import os, sys; os.close(1); sys.stdout = None\n"
    assert run(tmp_path / "result", before=closed) == 0


def test_a_full_disk_behind_the_log_stops_nothing(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        assert run(tmp_path / "result", stdout=full.fileno()) == 0


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_words_that_the_encoding_lacks_stop_nothing(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    with optional_output():
        print("Straße → λ", os.fsdecode(b"r\xfcn"))  # the last is a folder of an old disk
        Console().print("held-out → done")
        print("the end")
    words = stream.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert words.endswith("the end\n") and "\\udcfc" in words
    assert ("Straße" if encoding != "ascii" else "Stra\\xdfe") in words
