"""A chart of curves as SVG, without a plotting library: one that any browser shows within a page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

from aim_rl.runs.events import Curve

WIDTH, HEIGHT = 420, 240  # px
LEFT, RIGHT, TOP, BOTTOM = 52, 22, 14, 34  # px around the axes
COLOURS = ("#d95f02", "#1f77b4", "#2ca02c", "#7570b3")
TICKS = 4  # at most, per axis


def svg_chart(curves: Mapping[str, Curve], band: tuple[Curve, Curve] | None = None) -> str:
    """Curves by name over their steps, and a band between two more; names and last values below.

    Args:
        curves: at least one, with at least one point each.
        band: lower and upper limit.
    """
    drawn = [*curves.values(), *(band or ())]
    points = [(step, value) for curve in drawn for step, value in curve if math.isfinite(value)] or [(0, 0.0)]
    x_axis, y_axis = (_axis([point[axis] for point in points]) for axis in (0, 1))

    def place(curve: Curve) -> str:
        finite = [(step, value) for step, value in curve if math.isfinite(value)]
        return " ".join(f"{_x(step, x_axis):.1f},{_y(value, y_axis):.1f}" for step, value in finite)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" xmlns="http://www.w3.org/2000/svg">', *_grid(x_axis, y_axis)]
    if band is not None:
        low, high = band
        parts.append(f'<polygon points="{place([*low, *reversed(high)])}" fill="{COLOURS[0]}" opacity="0.18"/>')
    legend = []
    for colour, (name, curve) in zip(COLOURS, curves.items(), strict=False):
        line = f'fill="none" stroke="{colour}" stroke-width="1.6"'
        parts.append(f'<polyline points="{place(curve)}" {line}/>')
        if len(curve) == 1:
            step, value = curve[0]
            parts.append(f'<circle cx="{_x(step, x_axis):.1f}" cy="{_y(value, y_axis):.1f}" r="3" fill="{colour}"/>')
        legend.append(f'<span style="color:{colour}">&#9632;</span> {escape(name)}, last {curve[-1][1]:.4g}')
    return "".join([*parts, "</svg>", '<div class="legend">', "&emsp;".join(legend), "</div>"])


Axis = list[float]
"""Ticks; the first and the last are the ends."""


def _axis(values: list[float]) -> Axis:
    low, high = min(values), max(values)
    span = (high - low) or abs(high) or 1.0
    magnitude = 10 ** math.floor(math.log10(span / TICKS))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude * TICKS >= span)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def _x(step: float, axis: Axis) -> float:
    return LEFT + (step - axis[0]) / (axis[-1] - axis[0]) * (WIDTH - LEFT - RIGHT)


def _y(value: float, axis: Axis) -> float:
    return HEIGHT - BOTTOM - (value - axis[0]) / (axis[-1] - axis[0]) * (HEIGHT - TOP - BOTTOM)


def _grid(x_axis: Axis, y_axis: Axis) -> list[str]:
    """Lines at the ticks, and their numbers."""
    parts = []
    for tick in y_axis:
        y = _y(tick, y_axis)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_number(tick)}</text>')
    for tick in x_axis:
        x = _x(tick, x_axis)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#eee"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{_number(tick)}</text>')
    return parts


def _number(value: float) -> str:
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:.4g}"
