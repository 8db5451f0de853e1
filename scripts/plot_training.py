"""Draw the loss curve of a training run. Needs matplotlib.

    python scripts/plot_training.py RUN_FOLDER -o curve.png

Reads RUN_FOLDER/metrics.jsonl, one JSON object a line: a training step has `stage`, `step` and `loss`, a validation
`stage`, `step` and `validation_loss`. Stages follow one another on the axis of steps.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

SMOOTHED, RAW, VALIDATION = "#1f4e79", "#a9c4de", "#c0504d"


@dataclass
class Stage:
    """Losses by step. A step that a resumed run took again counts as it was taken last."""

    name: str
    training: dict[int, float] = field(default_factory=dict)
    validation: dict[int, float] = field(default_factory=dict)

    @property
    def steps(self) -> list[int]:
        return sorted({*self.training, *self.validation})


def read(path: Path) -> list[Stage]:
    """Stages in the order in which they first occur."""
    stages: dict[str, Stage] = {}
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            # A run that was killed may have left half a line, and so may one that is still running.
            print(f"plot_training: line {number} of {path} is left out: it is not JSON", file=sys.stderr)
            continue
        stage = stages.setdefault(row["stage"], Stage(row["stage"]))
        if row.get("loss") is not None:
            stage.training[row["step"]] = row["loss"]
        if row.get("validation_loss") is not None:
            stage.validation[row["step"]] = row["validation_loss"]
    return [stage for stage in stages.values() if stage.steps]


def smooth(values: Sequence[float]) -> list[float]:
    """Running mean over about a twentieth of the values, as many before each as behind it."""
    half = len(values) // 40
    smoothed = []
    for index in range(len(values)):
        reach = min(half, index, len(values) - 1 - index)
        smoothed.append(sum(values[index - reach : index + reach + 1]) / (2 * reach + 1))
    return smoothed


def draw(axes: Axes, stages: Sequence[Stage]) -> None:
    start = 0
    for number, stage in enumerate(stages):
        # Steps are counted within a stage or through all of them.
        offset = start if stage.steps[0] <= start else 0
        steps = sorted(stage.training)
        at = [offset + step for step in steps]
        losses = [stage.training[step] for step in steps]
        axes.plot(at, losses, color=RAW, linewidth=0.8, zorder=1)
        axes.plot(at, smooth(losses), color=SMOOTHED, linewidth=1.6, zorder=2)
        measured = sorted(stage.validation)
        axes.plot(
            [offset + step for step in measured],
            [stage.validation[step] for step in measured],
            "o",
            color=VALIDATION,
            markersize=4,
            zorder=3,
        )
        if start:
            axes.axvline(start, color="0.6", linewidth=0.8, linestyle=":")
        # In two rows: a short stage is narrower than its name.
        axes.annotate(
            stage.name, (start, 1), xycoords=("data", "axes fraction"), xytext=(2, 4 + 11 * (number % 2)),
            textcoords="offset points", fontsize=8, color="0.3",
        )  # fmt: skip
        start = offset + stage.steps[-1]
    for color, style, label in ((RAW, "-", "step"), (SMOOTHED, "-", "smoothed"), (VALIDATION, "o", "validation")):
        axes.plot([], [], style, color=color, label=label)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(0, start)
    axes.set_xlabel("step")
    axes.set_ylabel("loss of a token of the answer (nats)")
    axes.legend(frameon=False, fontsize=8, loc="lower left")


def main() -> int:
    parser = argparse.ArgumentParser(description="loss curve of a training run")
    parser.add_argument("run", type=Path, help="the folder with metrics.jsonl")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the picture; its ending says of which kind")
    arguments = parser.parse_args()
    try:
        stages = read(arguments.run / "metrics.jsonl")
    except OSError as error:
        print(f"plot_training: {error}", file=sys.stderr)
        return 1
    except (KeyError, TypeError) as error:
        print(f"plot_training: {arguments.run}/metrics.jsonl is of another kind: {error!r}", file=sys.stderr)
        return 1
    if not stages:
        print(f"plot_training: {arguments.run}/metrics.jsonl has no losses yet", file=sys.stderr)
        return 1
    figure, axes = pyplot.subplots(figsize=(8, 4), constrained_layout=True)
    draw(axes, stages)
    figure.savefig(arguments.out, dpi=150)
    return 0


if __name__ == "__main__":
    sys.exit(main())
