"""What commands remember between runs, in `$XDG_CACHE_HOME/aim_rl`, by default `~/.cache/aim_rl`.

A cache that cannot be read or written is no cache: nothing is remembered, and nothing else happens.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def read_cached(name: str) -> str:
    """The text remembered under a name; empty where there is none or it cannot be read."""
    try:
        return cache_file(name).read_text()
    except (OSError, ValueError, RuntimeError):
        return ""


def remember(name: str, text: str, append: bool = False) -> None:
    """Remembers a text under a name, instead of or after what is there, in one piece."""
    with contextlib.suppress(OSError, RuntimeError):
        path = cache_file(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab" if append else "wb", buffering=0) as file:
            file.write(text.encode())


def cache_file(name: str) -> Path:
    """Where a text is remembered; `name` may begin with a folder.

    Raises:
        RuntimeError: this user has no home.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aim_rl" / name
