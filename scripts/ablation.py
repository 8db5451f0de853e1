"""The paper's ablation table on phantoms: what mask, CT, focal crop and organ pre-training are each worth.

    python scripts/ablation.py --bin build/bin --out build/ablation --docs docs

Trains and evaluates 8 rows x 3 seeds, each in its own folder; what is there already is not done again, so a run that
was stopped goes on where it was. Then writes DOCS/ablation.md and DOCS/figures/ablation.png. Needs matplotlib, and the
packages of score_text.py.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "Training" / "ablation.json"
TRAINING_EXAMS, TEST_EXAMS = 300, 40
SEEDS = (1, 2, 3)
INPUTS = ("mask", "ct", "focal")


@dataclass(frozen=True)
class Row:
    """One row of the table: the inputs the model has, and whether it was trained on organs first."""

    inputs: tuple[str, ...]
    pretrained: bool = False

    @property
    def name(self) -> str:
        return "-".join((*self.inputs, *(["organs"] if self.pretrained else []))) or "none"

    @property
    def without(self) -> list[str]:
        missing = [name for name in INPUTS if name not in self.inputs]
        return ["--without", ",".join(missing)] if missing else []

    @property
    def marks(self) -> list[str]:
        return ["x" if name in self.inputs else "" for name in INPUTS] + ["x" if self.pretrained else ""]


# In the paper's order.
ROWS = (
    Row(()),
    Row(("mask",)),
    Row(("ct",)),
    Row(("focal",)),
    Row(("mask", "focal")),
    Row(("ct", "focal")),
    Row(INPUTS),
    Row(INPUTS, pretrained=True),
)

# Name in the table, and where scores have it: of petar-train evaluate or of score_text.py.
COLUMNS = (
    ("organ", "organ"),
    ("laterality", "laterality"),
    ("attributes", "attributes_mean"),
    ("CT", "ct"),
    ("whole text", "text"),
    ("BLEU", "bleu_4"),
    ("CIDEr", "cider"),
)


@dataclass(frozen=True)
class Ablation:
    bin: Path
    out: Path

    def tool(self, name: str, *words: str | Path) -> None:
        subprocess.run([str(self.bin / name), *map(str, words)], check=True, stdout=subprocess.DEVNULL)

    def data(self, name: str, exams: int, seed: int, *more: str) -> Path:
        folder = self.out / name
        if not folder.exists():
            self.tool("petar-train", "phantom", "--exams", str(exams), "--seed", str(seed), "--out", folder, *more)
        return folder

    def recipe(self, pretrained: bool) -> Path:
        recipe = json.loads(RECIPE.read_text())
        if not pretrained:
            recipe["stages"] = [stage for stage in recipe["stages"] if stage["name"] != "organs"]
        path = self.out / ("recipe-organs.json" if pretrained else "recipe.json")
        path.write_text(json.dumps(recipe, indent=2))
        return path

    def scores(self, row: Row, seed: int, training: Path, test: Path) -> dict[str, float]:
        """In percent but for CIDEr; trains and evaluates first where that has not been done."""
        folder = self.out / f"{row.name}-{seed}"
        evaluation = folder / "evaluation"
        if not (evaluation / "scores.json").exists():
            recipe = self.recipe(row.pretrained)
            run = folder / "run"
            self.tool("petar-train", "run", recipe, "--data", training, "--out", run, "--seed", str(seed), *row.without)
            stages = len(json.loads(recipe.read_text())["stages"])
            model = folder / "model.petar"
            self.tool("petar-convert", run / f"{stages}-findings", "-o", model, "--weights", "q8")
            self.tool("petar-train", "evaluate", model, test, "--task", "finding", "--out", evaluation, *row.without)
        fields = json.loads((evaluation / "scores.json").read_text())["findings"]
        command = [sys.executable, str(ROOT / "scripts" / "score_text.py"), str(evaluation / "predictions.jsonl")]
        text = json.loads(subprocess.run([*command, "--json"], check=True, stdout=subprocess.PIPE).stdout)
        scores = {name: 100 * fields[name]["share"] for name in fields}
        return {**scores, **{name: float(value) for name, value in text.items() if isinstance(value, (int, float))}}

    def run(self) -> list[tuple[Row, list[dict[str, float]]]]:
        self.out.mkdir(parents=True, exist_ok=True)
        training = self.data("training", TRAINING_EXAMS, 11)
        test = self.data("test", TEST_EXAMS, 1011, "--split", "test")
        table: list[tuple[Row, list[dict[str, float]]]] = [(row, []) for row in ROWS]
        # Seed after seed: a table of one seed is whole long before three are.
        for seed in SEEDS:
            for row, scores in table:
                start = time.monotonic()
                scores.append(self.scores(row, seed, training, test))
                seconds = time.monotonic() - start
                print(f"{row.name}, seed {seed}: organ {scores[-1]['organ']:.1f} %, {seconds:.0f} s", file=sys.stderr)
        return table


def spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}"


def page(table: list[tuple[Row, list[dict[str, float]]]]) -> str:
    lines = [
        "# What each ingredient is worth",
        "",
        "Written by `make ablation`: the rows of the paper's ablation, trained by `Training/ablation.json` on the "
        f"findings of {TRAINING_EXAMS} phantoms, their attributes asked alone, too, and asked the findings of "
        f"{TEST_EXAMS} others; mean and standard deviation "
        f"over {len(SEEDS)} seeds of training. Shares in percent; BLEU-4 and CIDEr by `scripts/score_text.py`. "
        "Phantoms are drawings by rule: the table says what the method can use, not how well it works on patients.",
        "",
        "| " + " | ".join(["mask", "CT", "focal", "organs", *[name for name, _ in COLUMNS]]) + " |",
        "|---" * (4 + len(COLUMNS)) + "|",
    ]
    for row, scores in table:
        cells = [spread([score[key] for score in scores]) for _, key in COLUMNS]
        lines.append("| " + " | ".join([*row.marks, *cells]) + " |")
    return "\n".join([*lines, "", "![Shares by row](figures/ablation.png)", ""])


def draw(table: list[tuple[Row, list[dict[str, float]]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = COLUMNS[:5]
    figure, axes = pyplot.subplots(1, len(columns), figsize=(13, 3.2), sharey=True, layout="constrained")
    names = [row.name.replace("-", " + ") for row, _ in table]
    for axis, (title, key) in zip(axes, columns):
        values: list[list[float]] = [[score[key] for score in scores] for _, scores in table]
        axis.barh(names, [statistics.mean(value) for value in values], color="#4c78a8", height=0.65)
        for place, value in enumerate(values):
            axis.plot(value, [place] * len(value), "o", color="black", markersize=2.5)
        axis.set_title(title)
        axis.set_xlim(0, 100)
        axis.set_xlabel("% right")
    axes[0].invert_yaxis()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, required=True, help="where petar-train and petar-convert are")
    parser.add_argument("--out", type=Path, required=True, help="data, runs and evaluations")
    parser.add_argument("--docs", type=Path, required=True, help="where page and figure go")
    arguments: Any = parser.parse_args()
    table = Ablation(arguments.bin, arguments.out).run()
    (arguments.docs / "ablation.md").write_text(page(table))
    draw(table, arguments.docs / "figures" / "ablation.png")


if __name__ == "__main__":
    main()
