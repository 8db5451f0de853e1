"""petar-train run on a few phantoms: it learns, and what happens to the process changes no bit of the model."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import petar
import pytest

RECIPE: dict[str, Any] = {
    "model": {
        "image_size": [8, 32, 32],
        "patch_size": [4, 8, 8],
        "proj_pooling_size": [2, 2, 2],
        "vision_width": 64,
        "vision_layers": 2,
        "vision_mlp": 128,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 128,
        "max_position_embeddings": 160,
    },
    "vocabulary": 512,
    "jittered_versions": 2,
    "save_minutes": 0,
    "stages": [
        {"name": "organs", "tasks": ["organ"], "epochs": 4, "questions_per_exam": 8, "batch": 4, "learning_rate": 2e-3},
        {"name": "shapes", "tasks": ["attribute"], "questions": ["What is its shape?"], "epochs": 1, "batch": 4},
        {"name": "findings", "tasks": ["finding"], "epochs": 6, "batch": 4, "learning_rate": 2e-3},
    ],
}
USAGE, INPUT_OUTPUT, INTERRUPTED = 2, 4, 130


class Training:
    """Runs of one recipe on one data set."""

    def __init__(self, tool: Path, folder: Path, data: Path) -> None:
        self.folder, self.data, self.tool = folder, data, tool
        self.recipe = folder / "recipe.json"
        self.recipe.write_text(json.dumps(RECIPE))

    def command(self, name: str, *more: str) -> list[str]:
        words = [self.tool, "run", self.recipe, "--data", self.data, "--out", self.folder / name, "--threads", "2"]
        return [*map(str, words), *more]

    def run(self, name: str, *more: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(name, *more), capture_output=True, text=True, **options)

    def metrics(self, name: str) -> list[dict[str, Any]]:
        path = self.folder / name / "metrics.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        # The last line may be half written when the process is killed.
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def model(self, name: str) -> dict[str, bytes]:
        """Every file of every checkpoint."""
        checkpoints = [path for path in (self.folder / name).iterdir() if path.is_dir()]
        return {
            str(file.relative_to(self.folder / name)): file.read_bytes()
            for folder in checkpoints
            for file in folder.iterdir()
        }


@pytest.fixture(scope="module")
def training(bin_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Training:
    folder = tmp_path_factory.mktemp("training")
    words = ["phantom", "--exams", "5", "--seed", "3", "--out", str(folder / "data")]
    subprocess.run([bin_dir / "petar-train", *words], check=True, capture_output=True)
    return Training(bin_dir / "petar-train", folder, folder / "data")


@pytest.fixture(scope="module")
def whole(training: Training) -> dict[str, bytes]:
    """What a run gives that nothing happens to."""
    done = training.run("whole")
    assert done.returncode == 0, done.stderr
    return training.model("whole")


def test_the_loss_falls(training: Training, whole: dict[str, bytes]) -> None:
    for stage in ("1-organs", "3-findings"):
        losses = [line["loss"] for line in training.metrics("whole") if line["stage"] == stage and "loss" in line]
        assert sum(losses[-4:]) < 0.8 * sum(losses[:4]), losses
    assert any("validation_loss" in line for line in training.metrics("whole"))


def test_a_stage_asks_its_questions_alone(training: Training, whole: dict[str, bytes]) -> None:
    lines = map(json.loads, (training.data / "dataset.jsonl").read_text().splitlines())
    shapes = [line for line in lines if line["question"] == "What is its shape?" and line["split"] == "train"]
    steps = [line for line in training.metrics("whole") if line["stage"] == "2-shapes" and "loss" in line]
    assert len(shapes) > 4 and len(steps) == (len(shapes) + 3) // 4


def test_killed_again_and_again(training: Training, whole: dict[str, bytes]) -> None:
    for steps in (1, 7, 19, 27, 34, 52):
        process = subprocess.Popen(training.command("killed"), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while process.poll() is None and len(training.metrics("killed")) < steps:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = training.run("killed")
    assert done.returncode == 0, done.stderr
    assert training.model("killed") == whole

    def steps_of(name: str) -> list[tuple[Any, ...]]:
        return [(line["stage"], line["step"], line.get("loss")) for line in training.metrics(name)]

    assert steps_of("killed") == steps_of("whole")


def test_interrupted(training: Training, whole: dict[str, bytes]) -> None:
    process = subprocess.Popen(training.command("interrupted"), stderr=subprocess.PIPE, text=True)
    while process.poll() is None and len(training.metrics("interrupted")) < 5:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == INTERRUPTED and "interrupted; the same command goes on" in said
    done = training.run("interrupted")
    assert done.returncode == 0 and "going on after step" in done.stderr
    assert training.model("interrupted") == whole


def test_a_full_disk(training: Training, whole: dict[str, bytes]) -> None:
    """No file may grow beyond the first checkpoint's, so that a state, with its moments, cannot be written."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole["0-start/model.safetensors"]) + 1000,) * 2)

    done = training.run("full", preexec_fn=limit)
    assert done.returncode == INPUT_OUTPUT
    assert "cannot write" in done.stderr, done.stderr
    assert not list((training.folder / "full").glob("*.partial"))
    assert training.run("full").returncode == 0
    assert training.model("full") == whole


def test_another_seed_is_another_model_and_another_folder(training: Training, whole: dict[str, bytes]) -> None:
    refused = training.run("whole", "--seed", "2")
    assert refused.returncode == USAGE and "another run" in refused.stderr


def convert(bin_dir: Path, checkpoint: Path, model: Path) -> None:
    command = [bin_dir / "petar-convert", checkpoint, "-o", model]
    subprocess.run([*map(str, command), "--weights", "f32"], check=True, capture_output=True)


def test_the_checkpoint_describes(training: Training, whole: dict[str, bytes], bin_dir: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.petar"
    checkpoint = training.folder / "whole" / "3-findings"
    convert(bin_dir, checkpoint, model)
    question = json.loads((training.data / "dataset.jsonl").read_text().splitlines()[0])
    exam = training.data / "exams" / question["exam"]
    with petar.Model(model) as opened:
        finding = opened.describe(
            exam / "pet.nii.gz", exam / "ct.nii.gz", exam / "lesions.nii.gz", label=question["label"], max_tokens=24
        )
    # After a few steps the model has learnt how a finding begins.
    assert finding.text.strip().startswith("Region"), finding.text


def test_pytorch_reads_the_checkpoint(training: Training, whole: dict[str, bytes], bin_dir: Path, root: Path) -> None:
    """The reference network of Tests/Fixtures, in PyTorch, writes the same text from the same folder."""
    pytest.importorskip("torch", reason="PyTorch is not among the packages of the tests")
    views, network_of = import_module("make_models").views, import_module("reference.petar").Petar
    checkpoint = training.folder / "whole" / "3-findings"
    model = training.folder / "whole.petar"
    convert(bin_dir, checkpoint, model)
    question = json.loads((training.data / "dataset.jsonl").read_text().splitlines()[0])
    exam = training.data / "exams" / question["exam"]
    with petar.Model(model) as opened:
        finding = opened.describe(
            exam / "pet.nii.gz", exam / "ct.nii.gz", exam / "lesions.nii.gz", label=question["label"], max_tokens=24
        )
        prompt = opened.prompt()
    network = network_of(checkpoint)
    vision = network.encode(views(exam, question["label"], tuple(RECIPE["model"]["image_size"])))
    image = json.loads((checkpoint / "added_tokens.json").read_text())["<im_patch>"]
    tokens, _ = network.greedy(prompt, vision, image, 24)
    assert list(finding.tokens) == tokens[: len(finding.tokens)]


def test_usage(training: Training, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({**RECIPE, "epochs": 3}))
    words = [str(training.tool), "run", str(recipe), "--data", str(training.data), "--out", str(tmp_path / "run")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 1 and '"epochs"' in done.stderr
    words = [str(training.tool), "run", str(training.recipe), "--data", str(tmp_path), "--out", str(tmp_path / "run")]
    missing = subprocess.run(words, capture_output=True, text=True)
    assert missing.returncode == INPUT_OUTPUT and "dataset.jsonl" in missing.stderr
