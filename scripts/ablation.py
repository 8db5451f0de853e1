"""The paper's ablation table on phantoms: what mask, CT, focal crop and organ pre-training are each worth.

    python scripts/ablation.py --bin build/bin --out build/ablation --docs docs

Trains and evaluates 8 rows x 3 seeds, each in its own folder; what is there already is not done again, so a run that
was stopped goes on where it was. As many are trained at a time as there are processors, on a thread each, which takes a
fifth less time than one after the other on all threads; each takes up to 3 GB. Then writes DOCS/ablation.md and
DOCS/figures/ablation.png. Needs matplotlib, and the packages of score_text.py.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
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
    def recipe(self) -> dict[str, Any]:
        recipe: dict[str, Any] = json.loads(RECIPE.read_text())
        if not self.pretrained:
            recipe["stages"] = [stage for stage in recipe["stages"] if stage["name"] != "organs"]
        return recipe

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

# Name in the table, where scores have it (petar-train evaluate or score_text.py), and decimals.
COLUMNS = (
    ("organ", "organ", 1),
    ("laterality", "laterality", 1),
    ("attributes", "attributes_mean", 1),
    ("CT correlate", "ct", 1),
    ("whole text", "text", 1),
    ("BLEU-4", "bleu_4", 3),
    ("CIDEr", "cider", 2),
)


@dataclass(frozen=True)
class Ablation:
    bin: Path
    out: Path
    jobs: int

    def tool(self, log: Path, name: str, *words: str | Path) -> None:
        """What it says goes to the end of `log`: several run side by side."""
        with log.open("ab") as output:
            done = subprocess.run([str(self.bin / name), *map(str, words)], stdout=output, stderr=output)
        if done.returncode != 0:
            raise SystemExit(
                f"{name} failed with {done.returncode}; {log} says why. The same command goes on from here."
            )

    def data(self, name: str, exams: int, seed: int, *more: str) -> Path:
        folder = self.out / name
        if not folder.exists():
            print(f"making {exams} phantoms", file=sys.stderr)
            words: list[str | Path] = ["--exams", str(exams), "--seed", str(seed), "--out", folder, *more]
            self.tool(self.out / f"{name}.log", "petar-train", "phantom", *words)
        return folder

    def scores(self, row: Row, seed: int, training: Path, test: Path) -> dict[str, float]:
        """In percent but for CIDEr; trains and evaluates first where that has not been done."""
        start = time.monotonic()
        folder = self.out / f"{row.name}-{seed}"
        evaluation = folder / "evaluation"
        if not (evaluation / "scores.json").exists():
            folder.mkdir(exist_ok=True)
            recipe = folder / "recipe.json"
            recipe.write_text(json.dumps(row.recipe, indent=2))
            run, model = folder / "run", folder / "model.petar"
            log = folder / "log.txt"
            options = ["--threads", "1", *row.without]
            words: list[str | Path] = [recipe, "--data", training, "--out", run, "--seed", str(seed), *options]
            self.tool(log, "petar-train", "run", *words)
            checkpoint = run / f"{len(row.recipe['stages'])}-findings"
            model.unlink(missing_ok=True)
            self.tool(log, "petar-convert", checkpoint, "-o", model, "--weights", "q8")
            self.tool(log, "petar-train", "evaluate", model, test, "--task", "finding", "--out", evaluation, *options)
        fields = json.loads((evaluation / "scores.json").read_text())["findings"]
        command = [sys.executable, str(ROOT / "scripts" / "score_text.py"), str(evaluation / "predictions.jsonl")]
        text = json.loads(subprocess.run([*command, "--json"], check=True, stdout=subprocess.PIPE).stdout)
        scores = {name: 100 * fields[name]["share"] for name in fields}
        seconds = time.monotonic() - start
        print(f"{row.name}, seed {seed}: organ {scores['organ']:.1f} %, {seconds:.0f} s", file=sys.stderr)
        return {**scores, **{name: float(value) for name, value in text.items() if isinstance(value, (int, float))}}

    def run(self) -> list[tuple[Row, list[dict[str, float]]]]:
        self.out.mkdir(parents=True, exist_ok=True)
        training = self.data("training", TRAINING_EXAMS, 11)
        test = self.data("test", TEST_EXAMS, 1011, "--split", "test")
        # Seed after seed: a table of one seed is whole long before three are.
        jobs = [(row, seed, training, test) for seed in SEEDS for row in ROWS]
        with ThreadPoolExecutor(self.jobs) as pool:
            scores = list(pool.map(self.scores, *zip(*jobs)))
        return [(row, scores[place :: len(ROWS)]) for place, row in enumerate(ROWS)]


def spread(values: list[float], decimals: int) -> str:
    return f"{statistics.mean(values):.{decimals}f} ± {statistics.stdev(values):.{decimals}f}"


def page(table: list[tuple[Row, list[dict[str, float]]]]) -> str:
    lines = [
        "# What each ingredient is worth",
        "",
        "Written by `make ablation`: the rows of the paper's ablation, trained by `Training/ablation.json` on the "
        f"findings of {TRAINING_EXAMS} phantoms, their attributes asked alone, too, and asked the findings of "
        f"{TEST_EXAMS} others; mean and standard deviation "
        f"over {len(SEEDS)} seeds of training. Shares in percent; BLEU-4 and CIDEr by `scripts/score_text.py`. "
        "Phantoms are procedurally generated: the table says what the method can use, not how well it works on "
        "patients.",
        "",
        "| " + " | ".join(["mask", "CT", "focal", "organs", *[name for name, _, _ in COLUMNS]]) + " |",
        "|---" * (4 + len(COLUMNS)) + "|",
    ]
    for row, scores in table:
        cells = [spread([score[key] for score in scores], decimals) for _, key, decimals in COLUMNS]
        lines.append("| " + " | ".join([*row.marks, *cells]) + " |")
    return "\n".join([*lines, "", "![Shares by row](figures/ablation.png)", ""])


def draw(table: list[tuple[Row, list[dict[str, float]]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = COLUMNS[:5]
    figure, axes = pyplot.subplots(1, len(columns), figsize=(13, 3.2), sharey=True, layout="constrained")
    names = [row.name.replace("-", " + ") for row, _ in table]
    for axis, (title, key, _) in zip(axes, columns):
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
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="trained at a time; all processors")
    arguments: Any = parser.parse_args()
    table = Ablation(arguments.bin, arguments.out, arguments.jobs).run()
    (arguments.docs / "ablation.md").write_text(page(table))
    draw(table, arguments.docs / "figures" / "ablation.png")


if __name__ == "__main__":
    main()
