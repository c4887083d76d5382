"""Statistics of features as LeRobot keeps them: of every episode, and of all together (its `compute_stats.py`).

LeRobot 0.6.1 computes in the type of the values, float32 for most, and takes quantiles from a histogram. Both are seen
in its figures, so both are done here, too.
"""

from __future__ import annotations

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
Stats = dict[str, np.ndarray]
"""min, max, mean, std, count and `QUANTILES` of a feature: floats [n] (pictures [3, 1, 1]); count i64 [1]."""
_BINS = 5000


def vector_stats(values: np.ndarray) -> Stats:
    """Of the frames [T] or [T, n] of an episode, as LeRobot's `get_feature_stats`."""
    values = np.ascontiguousarray(values.reshape(len(values), -1))
    values = values.astype(np.result_type(values.dtype, np.float32))  # LeRobot's; integers become f64
    mean = values.mean(0)
    std = np.sqrt(np.maximum(0, (values**2).mean(0) - mean**2))
    moments = {"min": values.min(0), "max": values.max(0), "mean": mean, "std": std, "count": np.array([len(values)])}
    quantiles = np.stack([_quantiles(column) for column in values.T], 1)
    return moments | dict(zip(QUANTILES, quantiles, strict=True))


def _quantiles(values: np.ndarray) -> np.ndarray:
    """`QUANTILES` [5] of values [T]: interpolated within the bin of a histogram, or where the first bin begins."""
    edges = np.linspace(values.min() - 1e-10, values.max() + 1e-10, _BINS + 1)
    counts = np.histogram(values, edges)[0].cumsum()
    wanted = np.array([*QUANTILES.values()]) * len(values)
    place = np.searchsorted(counts, wanted)
    before = counts[place - 1]
    inside = (wanted - before) / (counts[place] - before)
    return np.where(place == 0, edges[0], edges[place] + inside * (edges[place + 1] - edges[place]))


def image_stats(images: np.ndarray) -> Stats:
    """Of the colours in [0, 1] of pictures u8 [T, H, W, 3]: of some frames and pixels, as LeRobot's `sample_images`."""
    frames, height, width = images.shape[:3]
    sampled = max(min(frames, 100), min(int(frames**0.75), 10_000))
    step = 1 if max(height, width) < 300 else int(max(height, width) / 150)
    seen = images[np.round(np.linspace(0, frames - 1, sampled)).astype(int), ::step, ::step]
    stats = {
        name: (each / 255).reshape(3, 1, 1)
        for name, each in vector_stats(seen.reshape(-1, 3)).items()
        if name != "count"
    }
    return stats | {"count": np.array([sampled])}


def aggregate(first: Stats, second: Stats) -> Stats:
    """Of the frames of both. Quantiles of all frames cannot be told from these: as in LeRobot 0.6.1, means of them."""
    count = first["count"] + second["count"]
    weights = first["count"][0] / count[0], second["count"][0] / count[0]

    def weighted(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return weights[0] * one + weights[1] * other

    means = {name: weighted(first[name], second[name]) for name in ("mean", *QUANTILES)}
    variances = [each["std"] ** 2 + (each["mean"] - means["mean"]) ** 2 for each in (first, second)]
    return means | {
        "min": np.minimum(first["min"], second["min"]),
        "max": np.maximum(first["max"], second["max"]),
        "std": np.sqrt(weighted(*variances)),
        "count": count,
    }
