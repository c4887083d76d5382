"""What the test reads afterwards (events.txt), and what it wants to go wrong (misbehave.json)."""

import json
import os
import time
from pathlib import Path


def note(line):
    with Path("events.txt").open("a") as file:
        file.write(line + "\n")


def wishes():
    path = Path("misbehave.json")
    return json.loads(path.read_text()) if path.exists() else {}


def misbehave(place):
    """Dies or hangs at `place` if the test wants it; with "once", the wish is then forgotten."""
    wish = wishes()
    if wish.get("place") != place:
        return
    if wish.get("skip", 0) > 0:
        wish["skip"] -= 1
        Path("misbehave.json").write_text(json.dumps(wish))
        return
    if wish.get("once"):
        Path("misbehave.json").unlink()
    note(f"misbehaves at {place}")
    if wish["how"] == "die":
        os._exit(3)
    if wish["how"] == "hang":
        note("hangs")
        time.sleep(1000)
    if wish["how"] == "raise":
        raise RuntimeError(wish.get("text", "the fake raises"))
