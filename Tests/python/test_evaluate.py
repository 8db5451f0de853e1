"""petar-train evaluate with a model of random weights on two phantoms, and the scripts that work on its output."""

from __future__ import annotations

import importlib.util
import json
import math
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import petar
import pytest

FIELDS = ("region", "organ", "sub_site", "laterality", "morphology", "uptake", "tracer", "ct")
MODEL = "llama-shared-q8.petar"
USAGE, INTERRUPTED = 2, 130

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def evaluate(bin_dir: Path, models_dir: Path) -> Run:
    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = map(str, (bin_dir / "petar-train", "evaluate", models_dir / MODEL, *words))
        return subprocess.run(list(command), capture_output=True, text=True)

    return run


@pytest.fixture(scope="module")
def phantoms(bin_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms") / "set"
    words = ["phantom", "--exams", "2", "--seed", "7", "--split", "test", "--out", str(folder)]
    subprocess.run([bin_dir / "petar-train", *words], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def evaluation(evaluate: Run, phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All findings and a few questions about attributes and organs, all asked once."""
    folder = tmp_path_factory.mktemp("evaluation") / "all"
    # The phantoms have far more organs than lesions.
    lines = read(phantoms / "dataset.jsonl")
    some = [line for line in lines if line["task"] == "finding"]
    some += [line for line in lines if line["task"] == "attribute"][::5]
    some += [line for line in lines if line["task"] == "organ"][::20]
    small = folder.parent / "set"
    small.mkdir()
    (small / "exams").symlink_to(phantoms / "exams")
    write(small / "dataset.jsonl", some)
    done = evaluate(small, "--out", folder, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((folder / "scores.json").read_text())
    return folder


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_counts_add_up(evaluation: Path) -> None:
    scores, predictions = json.loads((evaluation / "scores.json").read_text()), read(evaluation / "predictions.jsonl")
    asked = read(evaluation.parent / "set" / "dataset.jsonl")
    # Every line once, in the order of the file.
    kept = ("exam", "patient", "task", "map", "label", "question", "answer")
    assert [[line[name] for name in kept] for line in predictions] == [[line[name] for name in kept] for line in asked]
    findings = [line for line in predictions if line["task"] == "finding"]
    organs, attributes = ([line for line in predictions if line["task"] == task] for task in ("organ", "attribute"))
    assert findings and organs and attributes
    assert scores["questions"] == len(predictions) and scores["failed"] == 0 and scores["failures"] == []

    # Once more, from the texts and the truth alone.
    def right(lines: list[dict[str, Any]]) -> int:
        return sum(line["prediction"].strip(" ") == line["answer"] for line in lines)

    assert scores["findings"]["text"]["count"] == len(findings)
    assert scores["findings"]["text"]["right"] == right(findings)
    for name, lines in (("organ_answers", organs), ("attribute_answers", attributes)):
        assert scores[name]["count"] == len(lines)
        assert scores[name]["right"] == right(lines)
    for field in FIELDS:
        told = scores["findings"][field]
        assert told["count"] == len(findings)
        assert told["right"] == sum(line["right"][field] for line in findings)
        low, high = told["interval_95"]
        assert 0 <= low <= told["share"] == told["right"] / told["count"] <= high <= 1
    wrong = sum(not line["right"][field] for line in findings for field in FIELDS)
    wrong += len(organs + attributes) - right(organs + attributes)
    assert 0 < sum(error["count"] for error in scores["confusions"]) <= wrong


def test_predictions_can_be_traced(evaluation: Path, models_dir: Path) -> None:
    scores = json.loads((evaluation / "scores.json").read_text())
    with petar.Model(models_dir / MODEL) as model:
        digest = model.metadata["hash"]
        assert scores["model"]["hash"] == digest
        predictions = read(evaluation / "predictions.jsonl")
        assert {line["model"] for line in predictions} == {digest}
        assert {line["library"] for line in predictions} == {scores["library"]} == {petar.__version__}
        # The text is the one that the library gives to whoever asks.
        for task in ("finding", "attribute", "organ"):
            line = next(line for line in predictions if line["task"] == task)
            exam = evaluation.parent / "set" / "exams" / line["exam"]
            finding = model.describe(
                exam / "pet.nii.gz", exam / "ct.nii.gz", exam / f"{line['map']}.nii.gz", label=line["label"],
                question=line["question"],
            )  # fmt: skip
            assert finding.text == line["prediction"]


def test_what_the_model_says_is_right_where_it_is_the_truth(evaluate: Run, evaluation: Path, tmp_path: Path) -> None:
    lines = read(evaluation.parent / "set" / "dataset.jsonl")
    for line, predicted in zip(lines, read(evaluation / "predictions.jsonl")):
        line["answer"] = predicted["prediction"]
        line.pop("attributes", None)
    # All but one.
    lines[0]["answer"] += " But no more."
    write(tmp_path / "dataset.jsonl", lines)
    (tmp_path / "exams").symlink_to(evaluation.parent / "set" / "exams")
    done = evaluate(tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "Findings that are right" in done.stdout and "Findings that are not" in done.stdout
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    for score in (scores["findings"]["text"], scores["organ_answers"], scores["attribute_answers"]):
        assert score["count"] > 1
    assert scores["findings"]["text"]["right"] == scores["findings"]["text"]["count"] - 1
    assert scores["organ_answers"]["share"] == scores["attribute_answers"]["share"] == 1
    assert scores["findings"]["organ"]["count"] == 0


def test_without_an_input_the_model_says_something_else(evaluate: Run, phantoms: Path, tmp_path: Path) -> None:
    texts = {}
    for without in ("", "mask", "ct", "focal", "mask,ct,focal"):
        folder = tmp_path / f"without-{without}"
        words = ["--without", without] if without else []
        done = evaluate(phantoms, "--task", "finding", "--limit", 3, "--out", folder, *words)
        assert done.returncode == 0, done.stderr
        predictions = read(folder / "predictions.jsonl")
        assert len(predictions) == 3
        omitted = sorted(without.split(",")) if without else []
        assert all(line["without"] == omitted for line in predictions)
        scores = json.loads((folder / "scores.json").read_text())
        assert scores["without"] == omitted
        assert (scores["split"], scores["task"], scores["limit"]) == ("test", "finding", 3)
        texts[without] = tuple(line["prediction"] for line in predictions)
    assert len(set(texts.values())) == len(texts)


def test_the_table_for_people(evaluate: Run, phantoms: Path) -> None:
    done = evaluate(phantoms, "--task", "finding", "--limit", "2", "--threads", "1")
    assert done.returncode == 0, done.stderr
    for words in ("95 % interval", "whole text", "laterality", "0 to ", "Findings that are not", "    truth  Region:"):
        assert words in done.stdout
    assert "organ answers" not in done.stdout
    assert "evaluating 100%" in done.stderr


def test_a_broken_exam_is_named_and_counted(evaluate: Run, phantoms: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    shutil.copytree(phantoms, folder)
    lines = [line for line in read(folder / "dataset.jsonl") if line["task"] == "finding"]
    names = sorted({line["exam"] for line in lines})
    pet = folder / "exams" / names[0] / "pet.nii.gz"
    pet.write_bytes(pet.read_bytes()[:1000])
    lines[-1]["label"] = 99
    write(folder / "dataset.jsonl", lines)
    broken = [line for line in lines if line["exam"] == names[0] or line["label"] == 99]

    done = evaluate(folder, "--json", "--out", tmp_path / "out")
    assert done.returncode == 1
    assert names[0] in done.stderr and "label 99" in done.stderr and "--skip-broken" in done.stderr
    scores = json.loads(done.stdout)
    assert scores["failed"] == len(scores["failures"]) == len(broken)
    assert scores["questions"] == len(lines)
    assert scores["findings"]["text"]["count"] == len(lines) - len(broken)
    predictions = read(tmp_path / "out" / "predictions.jsonl")
    assert sum("error" in line for line in predictions) == len(broken)
    assert sum("prediction" in line for line in predictions) == len(lines) - len(broken)

    skipped = evaluate(folder, "--json", "--skip-broken")
    assert skipped.returncode == 0 and names[0] in skipped.stderr
    assert json.loads(skipped.stdout)["failed"] == len(broken)


def test_an_interrupted_evaluation_says_how_far_it_got(
    bin_dir: Path, models_dir: Path, phantoms: Path, tmp_path: Path
) -> None:
    command = map(str, (bin_dir / "petar-train", "evaluate", models_dir / MODEL, phantoms, "--out", tmp_path / "out"))
    with subprocess.Popen(list(command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        # The first line comes with the first answer; more than a hundred follow.
        assert "evaluating" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait() == INTERRUPTED
    done = len(read(tmp_path / "out" / "predictions.jsonl"))
    total = len(read(phantoms / "dataset.jsonl"))
    assert 0 < done < total and f"interrupted after {done} of {total} questions" in said
    assert not (tmp_path / "out" / "scores.json").exists()


def test_wrong_usage(evaluate: Run, evaluation: Path, phantoms: Path, tmp_path: Path) -> None:
    for words in (
        (),
        (phantoms, phantoms),
        (phantoms, "--split", "exam"),
        (phantoms, "--split", "train"),
        (phantoms, "--task", "sentence"),
        (phantoms, "--limit", "0"),
        (phantoms, "--without", "pet"),
        (phantoms, "--threads", "0"),
        # A complete evaluation is not overwritten.
        (phantoms, "--out", evaluation),
    ):
        done = evaluate(*words)
        assert done.returncode == USAGE, words
        assert done.stderr.startswith("petar-train: "), words
    for paths in ((tmp_path,), (phantoms, "--out", tmp_path / "nowhere" / "out")):
        done = evaluate(*paths)
        assert done.returncode == 4 and str(tmp_path) in done.stderr


# ---- scripts/score_text.py -------------------------------------------------------------------------------------------


def script(root: Path, name: str, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "scripts" / name), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


def score(root: Path, predictions: Path) -> dict[str, Any]:
    told = script(root, "score_text.py", predictions, "--json")
    assert told.returncode == 0, told.stderr
    scores: dict[str, Any] = json.loads(told.stdout)
    return scores


@pytest.fixture
def predictions(tmp_path: Path) -> Callable[..., Path]:
    """A predictions.jsonl of (truth, text) pairs."""

    def make(*pairs: tuple[str, str]) -> Path:
        path = tmp_path / "predictions.jsonl"
        write(path, [{"task": "finding", "answer": truth, "prediction": text} for truth, text in pairs])
        return path

    return make


def test_bleu_against_known_answers(root: Path, predictions: Callable[..., Path]) -> None:
    # Papineni et al. 2002, section 2.1: two of seven words count; nothing of length four is right.
    scores = score(root, predictions(("the cat is on the mat", "the the the the the the the")))
    assert scores["bleu_1"] == pytest.approx(2 / 7) and scores["bleu_4"] == 0
    # 5 of 6 words, 4 of 5, 3 of 4, 2 of 3: their product is 1/3.
    scores = score(root, predictions(("a b c d e f", "a b c d e g")))
    assert scores["bleu_4"] == pytest.approx((1 / 3) ** 0.25)
    # Too short by half: exp(1 - 8 / 4).
    scores = score(root, predictions(("a b c d e f g h", "a b c d")))
    assert scores["bleu_4"] == scores["bleu_1"] == pytest.approx(math.exp(-1))
    # Case counts; a full stop is a word.
    assert score(root, predictions(("Organ: liver.", "organ: liver.")))["bleu_1"] == pytest.approx(3 / 4)


def test_rouge_l_against_known_answers(root: Path, predictions: Callable[..., Path]) -> None:
    # Lin 2004, section 3.1: 3/4 and 1/2.
    truth = "police killed the gunman"
    scores = score(root, predictions((truth, "police kill the gunman"), (truth, "the gunman kill police")))
    assert scores["rouge_l"] == pytest.approx((3 / 4 + 1 / 2) / 2)


def test_cider_against_answers_by_hand(root: Path, predictions: Callable[..., Path]) -> None:
    # Every n-gram is in one of two truths: cosines are 1 for words and pairs, there is nothing longer.
    assert score(root, predictions(("a b", "a b"), ("c d", "C d.")))["cider"] == pytest.approx(10 * 2 / 4)
    # One word of two: cosine 1/2 for words. The second is all wrong.
    scores = score(root, predictions(("a b", "a x"), ("c d", "y z")))
    assert scores["cider"] == pytest.approx(10 * (1 / 2) / 4 / 2)
    # One word too many: cosines 2 / (sqrt 2 sqrt 3) and 1 / (1 sqrt 2), lengths (of pairs) differ by 1, sigma is 6.
    scores = score(root, predictions(("a b", "a b x"), ("c d", "c d")))
    cosines = 2 / math.sqrt(6) + 1 / math.sqrt(2)
    assert scores["cider"] == pytest.approx((10 * cosines / 4 * math.exp(-1 / 72) + 5) / 2)


def test_text_scores_of_an_evaluation(root: Path, evaluation: Path) -> None:
    scores = score(root, evaluation / "predictions.jsonl")
    count = sum(line["task"] == "finding" for line in read(evaluation / "predictions.jsonl"))
    assert scores["findings"] == count and scores["failed"] == 0
    assert all(0 <= scores[name] <= 1 for name in ("bleu_1", "bleu_4", "rouge_l"))


def test_findings_without_a_text_are_counted(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    write(path, [
        {"task": "finding", "answer": "a b c d", "prediction": "a b c d"},
        {"task": "finding", "answer": "a b c d", "error": "the mask is empty"},
        {"task": "organ", "answer": "liver", "prediction": "spleen"},
    ])  # fmt: skip
    scores = score(root, path)
    assert (scores["findings"], scores["failed"], scores["bleu_4"]) == (1, 1, pytest.approx(1))


# ---- scripts/plot_training.py ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plot(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("plot_training", root / "scripts" / "plot_training.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_loss_curve(root: Path, plot: ModuleType, tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"stage": stage, "step": step, "loss": 4 / (step + start), "learning_rate": 1e-4}
        for start, stage in enumerate(("1-projector", "2-all"))
        for step in range(1, 6)
    ]
    lines.insert(5, {"stage": "1-projector", "step": 5, "validation_loss": 1.5})
    # Taken again after a resume.
    lines.append({"stage": "2-all", "step": 5, "loss": 0.5})
    write(tmp_path / "metrics.jsonl", lines)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "2-all", "st')

    stages = plot.read(tmp_path / "metrics.jsonl")
    assert [(stage.name, stage.steps) for stage in stages] == [
        ("1-projector", [1, 2, 3, 4, 5]),
        ("2-all", [1, 2, 3, 4, 5]),
    ]
    assert stages[0].validation == {5: 1.5} and stages[1].training[5] == 0.5

    figure, axes = plot.pyplot.subplots()
    plot.draw(axes, stages)
    drawn = [list(map(float, line.get_xdata())) for line in axes.get_lines()]
    plot.pyplot.close(figure)
    # The second stage goes on where the first has ended.
    assert [1, 2, 3, 4, 5] in drawn and [6, 7, 8, 9, 10] in drawn and [5] in drawn

    made = script(root, "plot_training.py", tmp_path, "-o", tmp_path / "curve.png")
    assert made.returncode == 0 and "line 13" in made.stderr
    assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"


def test_smoothing_keeps_a_line_straight(plot: ModuleType) -> None:
    line = [2 * step + 1.0 for step in range(200)]
    assert plot.smooth(line) == pytest.approx(line)
    noisy = [value + (-1) ** index for index, value in enumerate(line)]
    assert max(abs(a - b) for a, b in zip(plot.smooth(noisy)[5:-5], line[5:-5])) < 0.2


def test_a_run_without_metrics(root: Path, tmp_path: Path) -> None:
    told = script(root, "plot_training.py", tmp_path, "-o", tmp_path / "curve.png")
    assert told.returncode == 1 and "metrics.jsonl" in told.stderr


# What `LesionFinding` writes.
FINDING = re.compile(
    r"Region: (?P<region>[^.]+)\. Organ: (?P<organ>[^.]+)\. Sub-site: (?P<sub_site>[^.]+)\."
    r"( Laterality: (?P<laterality>right|left)\.)?"
    r" Findings: (?P<morphology>\S+) lesion with (?P<uptake>\S+) (?P<tracer>\S+) uptake, (?P<ct>[^.]+) on CT\."
)


def test_the_model_that_comes_with_the_project(bin_dir: Path, phantoms: Path, root: Path, tmp_path: Path) -> None:
    """It sees: a model that says every lesion the same is right on a third of the organs and sides at most."""
    model = root / "Models" / "petar-tiny.petar"
    assert model.stat().st_size <= 8_000_000
    words = ("evaluate", model, phantoms, "--task", "finding", "--json", "--out", tmp_path / "out")
    done = subprocess.run([bin_dir / "petar-train", *map(str, words)], check=True, capture_output=True, text=True)
    findings = json.loads(done.stdout)["findings"]
    # Counted again, from the texts and the data set.
    truths = [line for line in read(phantoms / "dataset.jsonl") if line["task"] == "finding"]
    texts = [FINDING.fullmatch(line["prediction"].strip()) for line in read(tmp_path / "out" / "predictions.jsonl")]
    assert len(texts) == len(truths)
    for field in FIELDS:
        right = [text[field] == line["attributes"][field] for text, line in zip(texts, truths) if text]
        assert (findings[field]["right"], findings[field]["count"]) == (sum(right), len(truths)), field
        assert sum(right) > 0
    assert findings["organ"]["count"] >= 8
    assert findings["organ"]["share"] > 0.8 and findings["laterality"]["share"] > 0.8, findings
