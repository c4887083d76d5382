"""How `statistics.json` was made, by lerobot 0.6.1 itself: `python make_statistics.py > statistics.json`; not a test.

An episode that is longer than the frames that LeRobot samples, with pictures of a size of which it skips pixels.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

FEATURES = {"observation.state": {"dtype": "float32"}, "index": {"dtype": "int64"}, "perturbed": {"dtype": "bool"}}
FEATURES |= {"observation.images.head_camera": {"dtype": "video"}}


def episode() -> dict[str, np.ndarray]:
    """Feature -> 130 frames; whole numbers only, so that they are the same everywhere."""
    times, joints = np.arange(130), np.arange(14)
    rows, columns = np.mgrid[:240, :320]
    shades = (2 * rows + columns**2 // 50)[..., None] + 40 * np.arange(3)
    return {
        "observation.state": ((times[:, None] ** 2 * (joints + 3) % 997) / 997 + joints).astype(np.float32),
        "index": 1_000_000 + times,
        "perturbed": times % 3 == 0,
        "observation.images.head_camera": ((shades + 7 * times[:, None, None, None]) % 256).astype(np.uint8),
    }


if __name__ == "__main__":
    from lerobot.datasets.compute_stats import compute_episode_stats
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        values = episode()
        paths = [str(Path(folder) / f"{number:03d}.png") for number in range(130)]
        for path, image in zip(paths, values["observation.images.head_camera"], strict=True):
            Image.fromarray(image).save(path)
        stats = compute_episode_stats(values | {"observation.images.head_camera": paths}, FEATURES)
    json.dump({key: {name: each.tolist() for name, each in some.items()} for key, some in stats.items()}, sys.stdout)
