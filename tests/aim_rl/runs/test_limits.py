"""Limits of the machine: one sentence with the way out, exit code 2."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from aim_rl.runs.interrupt import says_how_to_resume
from envs.errors import OutOfResources, exit_cleanly, machine_limit

SHARED = "unable to allocate shared memory(shm) for file </torch_8629_1_2>: No space left on device (28)"
FILES = "unable to open shared memory object </torch_8632_6_28> in read-write mode: Too many open files (24)"
ALLOCATOR = "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: 8 bytes"
GPU = "CUDA out of memory. Tried to allocate 2.00 GiB"
REACHED = [
    (RuntimeError(SHARED), "/dev/shm is full; .*--shm-size"),
    (RuntimeError(FILES), "ulimit -n 4096"),
    (OSError(errno.EMFILE, os.strerror(errno.EMFILE), "/a/file"), "ulimit -n 4096"),
    (ImportError("libx.so: cannot open shared object file: Too many open files"), "ulimit -n 4096"),
    (RuntimeError("can't start new thread"), "ulimit -u"),
    (BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)), "ulimit -u"),
    (RuntimeError("DataLoader worker (pid 71) is killed by signal: Killed. "), "prepares batches was killed"),
    (RuntimeError("DataLoader worker (pid(s) 71, 72) exited unexpectedly"), "--workers 0"),
    (RuntimeError(ALLOCATOR), "not enough memory"),
    (RuntimeError(GPU), "not enough memory"),
    (MemoryError(), "not enough memory"),
    (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), "not enough memory"),
    (
        OSError(errno.EACCES, os.strerror(errno.EACCES), "/a/file"),
        "cannot use /a/file: Permission denied; choose another",
    ),
    (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), "/a/file"), "cannot use /a/file: Disk quota exceeded; free some"),
]


@pytest.mark.parametrize(("error", "sentence"), REACHED)
def test_a_limit_is_one_line_and_exit_code_2(
    error: Exception, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        exit_cleanly(main)
    words = capsys.readouterr().err
    assert ended.value.code == 2 and words.count("\n") == 1 and words.startswith("error: ")
    assert re.search(sentence, words), words


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ImportError("no module x"), OSError("no such thing")])
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    def main() -> None:
        raise error

    assert machine_limit(error) is None
    with pytest.raises(type(error)) as ended:
        exit_cleanly(main)
    assert ended.value is error


def test_a_limit_behind_another_error_is_found() -> None:
    """A constructor fails for want of descriptors, then its `close` because nothing was opened."""
    try:
        try:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        finally:
            raise RuntimeError("trying to close a closed environment")
    except RuntimeError as error:
        assert machine_limit(error) == machine_limit(OSError("Too many open files")) is not None


def test_a_limit_inside_a_run_names_the_outermost_run(tmp_path: Path) -> None:
    outer, inner = tmp_path / "outer", tmp_path / "inner"
    with pytest.raises(OutOfResources) as ended, says_how_to_resume(outer), says_how_to_resume(inner):
        raise MemoryError
    assert str(ended.value).endswith(f"fewer environments; go on with --resume {outer}")
