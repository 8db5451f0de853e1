"""Draws where the time of a lesion goes, against what the machine's limits allow.

build/bin/petar-bench MODEL.petar --json > run.json
python plot.py run.json stages.svg
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

TAKEN, LIMIT = "#4878a8", "#1b2a41"


def bars(report: dict[str, Any]) -> list[tuple[str, float, float, float]]:
    """Name, seconds, seconds at the limit and the share of it that was reached, of what a lesion is made of."""
    stages = {stage["name"].split(",")[0]: stage for stage in report["stages"] if "limit_seconds" in stage}
    steps = report["configuration"]["tokens"] - 1
    parts = [("encode", 1, "encode\n4 tower passes"), ("prefill", 1, "prefill\n{positions} positions")]
    parts.append(("decode", steps, "decode\n{steps} steps"))
    positions = report["configuration"]["positions"]
    return [
        (
            label.format(positions=positions, steps=steps),
            stages[key]["seconds"] * count,
            stages[key]["seconds"] * stages[key]["fraction_of_limit"] * count,
            stages[key]["fraction_of_limit"],
        )
        for key, count, label in parts
    ]


def main() -> None:
    report = json.loads(Path(sys.argv[1]).read_text())
    setup = report["configuration"]
    rows = bars(report)

    figure, axes = plt.subplots(figsize=(8, 3.4), layout="constrained")
    names = [row[0] for row in rows]
    axes.barh(names, [row[1] for row in rows], height=0.6, color=TAKEN, label="measured")
    axes.barh(names, [row[2] for row in rows], height=0.22, color=LIMIT, label="at the machine's limit")
    for index, (_, seconds, limit, fraction) in enumerate(rows):
        axes.annotate(
            f"{seconds:.1f} s, {fraction:.0%} of the limit",
            (max(seconds, limit), index),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
        )
    axes.invert_yaxis()
    axes.set_xlim(0, max(max(row[1:3]) for row in rows) * 1.45)
    axes.set_xlabel("seconds")
    axes.set_title(
        f"{setup['model']} {setup['weights']}, {setup['processor']}, {setup['instruction_set']}, "
        f"{setup['threads']} threads",
        fontsize=10,
    )
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(sys.argv[2], metadata={"Date": None})


if __name__ == "__main__":
    main()
