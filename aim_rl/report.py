"""One page about a run, to look at and to send: `python -m aim_rl.report RUN`.

Writes RUN/report.html: what is missing, the final table, curves, videos, settings with their history, machine and
commit. The page holds everything itself and opens without a network. Stage I or Stage II, finished or not.
"""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Annotated, Any

import tyro

from aim_rl.model.pretrained import read_metadata
from aim_rl.runs.chart import svg_chart
from aim_rl.runs.config import refuse_links
from aim_rl.runs.dashboard import STAGE1, STAGE2, Chart
from aim_rl.runs.events import Events
from aim_rl.runs.statistics import describe, describe_pairs
from envs.errors import UserError, exit_cleanly
from envs.files import atomic_file, read_json

VIDEOS = 6  # at most
MIME = {"gif": "image/gif", "png": "image/png", "mp4": "video/mp4"}
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 1340px; margin: 24px auto; padding: 0 16px; }
h1 { margin-bottom: 4px; } h2 { margin: 32px 0 8px; border-bottom: 1px solid #ccc; }
h3 { font-size: 14px; margin: 4px 0; }
.missing { background: #fff4d6; padding: 8px 12px; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(380px, 1fr)); gap: 20px; }
figure { margin: 0; } figure img, figure video { width: 100%; image-rendering: pixelated; }
figcaption, .legend { font-size: 13px; color: #555; } svg { width: 100%; } svg text { font-size: 11px; fill: #555; }
table { border-collapse: collapse; } td, th { text-align: left; vertical-align: top; padding: 2px 18px 2px 0; }
code, pre { font: 13px/1.4 ui-monospace, monospace; overflow-wrap: anywhere; white-space: pre-wrap; }
"""
LEGEND = (
    "Orange: where the model says that the left hand should act next; blue: the right hand. Small squares: the "
    "positions that the tool is sent to."
)
Rows = list[tuple[str, ...]]


@dataclass(frozen=True)
class ReportConfig:
    """Writes one HTML page about a run."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run of pretrain or finetune."""
    out: Path | None = None
    """The page; RUN/report.html by default."""


class Run:
    """What a run's folder says.

    Args:
        folder: of the run, which may come from someone else.

    Raises:
        UserError: it is not one of pretrain or finetune, a file in it is damaged, or a link may lead out of it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / "config.json").is_file():
            raise UserError(f"{folder} is not the folder of a run: it has no config.json")
        self.config = read_json(folder / "config.json")
        names = self.config.keys() if isinstance(self.config, dict) else set()
        if not {"steps", "preset"} <= names and not {"iterations", "stage1"} <= names:
            raise UserError(f"{folder} is not a run of pretrain or finetune; give the folder of one")
        refuse_links(folder)  # the page, which is made to be sent, would hold their targets
        self.stage = 1 if "preset" in names else 2
        self.events = Events(folder)
        self.charts = STAGE1 if self.stage == 1 else STAGE2
        self.stage1, self.result = (self._read(name) for name in ("stage1.json", "result.json"))
        checkpoint = folder / "checkpoint" / "config.json"
        self.metadata: dict[str, Any] = read_metadata(folder) if checkpoint.is_file() else {}
        self.videos = sorted((folder / "videos").glob("*.mp4"))

    @property
    def unit(self) -> str:
        """What the curves count."""
        return "step" if self.stage == 1 else "environment step"

    @property
    def title(self) -> str:
        return f"Stage {'I' * self.stage}: {self.config.get('task')}"

    def missing(self) -> str:
        """What is not there yet and how to get it, in one sentence; empty if nothing is."""
        config, parts = self.config, []
        if self.stage == 2 and self.result is None:
            done = f"{len(self.events.curve('stage2/success'))} of {config['iterations']} iterations are done"
            parts.append(f"the final result, because {done} ({self._resume('finetune')})")
        steps = max([0, *(step + 1 for step, _ in self.events.curve("stage1/loss"))])
        if self.stage == 1 and steps < config["steps"]:
            done = f"{steps} of {config['steps']} steps are done"
            parts.append(f"the final losses, because {done} ({self._resume('pretrain')})")
        if not any(self.events.curve(tag) for chart in self.charts for tag in chart.tags):
            parts.append("the curves, because nothing is logged yet")
        if self.metadata and not self.videos and not any(picture.kind == "gif" for picture in self.events.pictures()):
            words = ["python", "-m", "aim_rl.evaluate", "--task", str(config["task"]), "--episodes", "3"]
            words += ["--checkpoint", str(self.folder), "--video", str(self.folder / "videos")]
            parts.append(f"videos (`{shlex.join(words)}` records some)")
        if "environment" not in config:
            parts.append("machine and commit, which runs of older versions do not record")
        return f"Not on this page: {'; '.join(parts)}." if parts else ""

    def _resume(self, command: str) -> str:
        return f"`python -m aim_rl.{command} --resume {shlex.quote(str(self.folder))}` goes on"

    def _read(self, name: str) -> Any:
        return read_json(self.folder / name) if (self.folder / name).exists() else None


def page(run: Run) -> str:
    """The HTML page."""
    missing = run.missing()
    parts = [f"<h1>{escape(run.title)}</h1>", f"<p>{_code(run.folder.resolve())}</p>"]
    parts += [f'<p class="missing">{escape(missing)}</p>'] if missing else []
    parts += ["<h2>Result</h2>", table(final_rows(run))]
    parts += ["<h2>Curves</h2>", f"<p>Over {run.unit}s.</p>", grid(charts(run))]
    parts += ["<h2>Videos and pictures</h2>", f"<p>{LEGEND}</p>", grid(pictures(run)), "<h2>Settings</h2>"]
    parts += [f"<p>{_code(' '.join(map(str, run.config['command'])))}</p>", table(settings(run)), *history(run)]
    parts += ["<h2>Machine and commit</h2>", table(_pairs(run.config.get("environment", {})))]
    head = f'<meta charset="utf-8"><title>{escape(run.title)}</title><style>{STYLE}</style>'
    return f"<!doctype html><html><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def final_rows(run: Run) -> Rows:
    """The final table, or what is known before the end."""
    if run.stage == 1:
        held_out = run.metadata.get("held_out", {})
        rows = [(f"held-out {name}", f"{value:.4g}") for name, value in held_out.items()]
        return [*rows, ("minutes", f"{run.metadata['minutes']:.1f}")] if rows else [("nothing measured yet",)]
    rows = []
    before = run.result["stage1"] if run.result else run.stage1
    if before is not None:
        rows.append(("Stage I, held-out scenes", describe(before)))
    if run.result is not None:
        rows.append(("Stage II, the same scenes", describe(run.result["stage2"])))
        steps, minutes = run.result["environment_steps"], run.result["minutes"]
        rows.append(("training", f"{steps} environment steps, {minutes:.1f} minutes"))
        if "validation" in run.result:
            rows.append(("validation scenes, compared with Stage I", describe_pairs(run.result["validation"])))
        return rows
    for name, tag in (("exploring, last iteration", "success"), ("validation scenes, last time", "validation/success")):
        rows += [(name, f"{100 * value:.1f} %") for _, value in run.events.curve(f"stage2/{tag}")[-1:]]
    return rows or [("nothing measured yet",)]


def charts(run: Run) -> Iterable[str]:
    """A figure per chart that has a curve."""
    for chart in run.charts:
        curves = {_short(tag, chart): curve for tag in chart.tags if (curve := run.events.curve(tag))}
        if curves:
            limits = [run.events.curve(tag) for tag in chart.band or ()]
            band = (limits[0], limits[1]) if limits and all(limits) else None
            yield f"<h3>{escape(chart.title)}</h3>{svg_chart(curves, band)}"


def _short(tag: str, chart: Chart) -> str:
    """A tag as a legend calls it."""
    return tag.rpartition("/")[2] if len(chart.tags) > 1 else chart.title.partition(",")[0]


def pictures(run: Run) -> Iterable[str]:
    """Recorded videos first, then animated pictures and pictures out of TensorBoard."""
    videos = run.videos[:VIDEOS]
    for path in videos:
        source = _data("mp4", path.read_bytes())
        yield f'<video src="{source}" controls loop muted autoplay></video>{_caption(path.stem)}'
    for picture in run.events.pictures()[: VIDEOS - len(videos)]:
        alt = f"{picture.tag}, {run.unit} {picture.step}"
        yield f'<img src="{_data(picture.kind, picture.data)}" alt="{escape(alt)}">{_caption(alt)}'


def settings(run: Run) -> Rows:
    """Dotted names and values."""
    other = ("command", "history", "environment")
    return _pairs(dict(_flat({name: value for name, value in run.config.items() if name not in other})))


def history(run: Run) -> Iterable[str]:
    """What each `--resume` changed."""
    rows = [
        (entry["time"], f"after step {entry['step']}", name, f"{old} -> {new}")
        for entry in run.config.get("history", [])
        for name, (old, new) in entry["changed"].items()
    ]
    return ["<h3>Changed when the run was resumed</h3>", table(rows)] if rows else []


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _pairs(values: Mapping[str, Any]) -> Rows:
    return [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in values.items()]


def table(rows: Rows) -> str:
    """An HTML table."""
    lines = ("".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in rows)
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def grid(figures: Iterable[str]) -> str:
    """Figures beside one another."""
    return f'<div class="grid">{"".join(f"<figure>{figure}</figure>" for figure in figures)}</div>'


def _caption(words: str) -> str:
    return f"<figcaption>{escape(words)}</figcaption>"


def _code(words: object) -> str:
    return f"<code>{escape(str(words))}</code>"


def _data(kind: str, data: bytes) -> str:
    return f"data:{MIME[kind]};base64,{base64.b64encode(data).decode()}"


def write_report(folder: Path, out: Path) -> None:
    """Writes the page of a run. Raises UserError: as `Run`, or the page cannot be written."""
    try:
        words = page(Run(folder))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"config.json, stage1.json or result.json in {folder} is damaged ({error!r}); copy the run again"
        ) from error
    with atomic_file(out) as aside:
        aside.write_text(words, encoding="utf-8")


def main() -> None:
    config = tyro.cli(ReportConfig, description=__doc__)
    out = config.out or config.run / "report.html"
    write_report(config.run, out)
    print(f"Wrote {out}, {out.stat().st_size / 2**20:.1f} MiB; open it in a browser or send it as one file")


if __name__ == "__main__":
    exit_cleanly(main)
