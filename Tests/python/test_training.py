"""petar-train run on a few phantoms: it learns, and what happens to the process changes no bit of the model."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import time
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

import nibabel
import numpy as np
import petar
import pytest
from reference import checkpoint
from safetensors.numpy import load_file

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

    def __init__(self, tool: Path, folder: Path, data: Path, recipe: dict[str, Any] = RECIPE) -> None:
        self.folder, self.data, self.tool = folder, data, tool
        self.recipe = folder / "recipe.json"
        self.recipe.write_text(json.dumps(recipe))

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


def steps_of(training: Training, name: str) -> list[tuple[Any, ...]]:
    return [(line["stage"], line["step"], line.get("loss")) for line in training.metrics(name)]


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


def start(training: Training, name: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(training.command(name), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def test_killed_after_steps(training: Training, whole: dict[str, bytes]) -> None:
    for steps in (1, 7, 19, 27, 34, 52):
        process = start(training, "killed")
        while process.poll() is None and len(training.metrics("killed")) < steps:
            time.sleep(0.01)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    done = training.run("killed")
    assert done.returncode == 0, done.stderr
    assert training.model("killed") == whole
    assert steps_of(training, "killed") == steps_of(training, "whole")


def files(folder: Path) -> dict[str, int]:
    """Names and sizes."""
    found = {}
    for path in folder.glob("*"):
        with contextlib.suppress(FileNotFoundError):
            found[path.name] = path.stat().st_size
    return found


def test_killed_at_any_moment(training: Training, whole: dict[str, bytes]) -> None:
    """Whatever was written last, and a little later: also in the middle of a state or a checkpoint."""
    random = Random(5)
    kills = 0
    for _ in range(8):
        process = start(training, "struck")
        before = files(training.folder / "struck")
        changes = random.randint(1, 25)
        while process.poll() is None and changes > 0:
            now = files(training.folder / "struck")
            changes -= now != before
            before = now
            time.sleep(random.uniform(0, 0.003))
        process.kill()
        kills += process.wait() == -signal.SIGKILL
    # As each goes on where the one before has got to, the last may find all done.
    assert kills >= 4
    done = training.run("struck")
    assert done.returncode == 0, done.stderr
    assert training.model("struck") == whole
    assert steps_of(training, "struck") == steps_of(training, "whole")


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
    """Once there is a state, no file may grow as large as one: the next cannot be written, and the first is kept."""
    process = subprocess.Popen(
        training.command("full"), stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
    )  # fmt: skip
    state = training.folder / "full" / "1-organs.state"
    while True:
        time.sleep(0.005)
        process.send_signal(signal.SIGSTOP)
        assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1]), "the run ended before there was a state"
        if state.exists() and not Path(f"{state}.partial").exists():
            break
        process.send_signal(signal.SIGCONT)
    before = state.read_bytes()
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (len(before) - 1,) * 2)
    process.send_signal(signal.SIGCONT)
    _, said = process.communicate()
    assert process.returncode == INPUT_OUTPUT
    assert "cannot write" in said, said
    assert state.read_bytes() == before
    assert not list((training.folder / "full").glob("*.partial"))
    assert training.run("full").returncode == 0
    assert training.model("full") == whole


def test_memory_does_not_grow_with_steps(training: Training, tmp_path: Path) -> None:
    def peak(epochs: int) -> tuple[int, int]:
        """Steps, and the most memory in KiB."""
        folder = tmp_path / str(epochs)
        folder.mkdir()
        stage = {"name": "findings", "tasks": ["finding"], "epochs": epochs, "batch": 4}
        recipe = {**RECIPE, "jittered_versions": 0, "save_minutes": 60, "stages": [stage]}
        run = Training(training.tool, folder, training.data, recipe)
        process = start(run, "run")
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return sum("loss" in line for line in run.metrics("run")), used.ru_maxrss

    (steps, few), (more_steps, many) = peak(8), peak(40)
    assert more_steps == 5 * steps >= 100
    # A batch's views alone, 8 x 32 x 32 of six arrays in f32, are 768 KiB: kept from every step they would be over
    # 60 MB. A few MB come and go with the allocator's threads.
    assert many - few < 32 * 1024, (few, many)


def test_the_papers_stages(training: Training, tmp_path: Path, root: Path) -> None:
    """Training/paper.json with a small model and few questions."""
    paper = json.loads((root / "Training" / "paper.json").read_text())
    stages = [{**stage, "epochs": 1, "questions_per_exam": 2, "batch": 2, "warm_up": 0} for stage in paper["stages"]]
    run = Training(
        training.tool, tmp_path, training.data, {**RECIPE, **paper, "model": RECIPE["model"], "stages": stages}
    )
    done = run.run("run")
    assert done.returncode == 0, done.stderr
    names = ["0-start", *(f"{place}-{stage['name']}" for place, stage in enumerate(stages, 1))]
    weights = [load_file(tmp_path / "run" / name / "model.safetensors") for name in names]
    for stage, before, after in zip(stages, weights, weights[1:]):
        changed = {name for name in before if not np.array_equal(before[name], after[name])}
        wanted = {"projector": ".mm_projector.", "mask_embedding": ".patch_embedding_mask.", "all": ""}[stage["train"]]
        assert changed and all(wanted in name for name in changed), stage["name"]
        if stage["train"] == "all":
            assert len(changed) > 0.9 * len(before)


def test_what_is_wrong_with_an_exam_is_said_once(training: Training, tmp_path: Path) -> None:
    """Half of a CT is missing. Views of a mask are made twice: there are two jittered versions."""
    lines = [json.loads(line) for line in (training.data / "dataset.jsonl").read_text().splitlines()]
    finding = next(line for line in lines if line["task"] == "finding" and line["split"] == "train")
    data = tmp_path / "data"
    exam = data / "exams" / finding["exam"]
    exam.mkdir(parents=True)
    source = training.data / "exams" / finding["exam"]
    for name in ("pet", "lesions"):
        (exam / f"{name}.nii.gz").symlink_to(source / f"{name}.nii.gz")
    ct = nibabel.load(source / "ct.nii.gz")
    nibabel.save(ct.slicer[:, :, : ct.shape[2] // 2], exam / "ct.nii.gz")
    (data / "dataset.jsonl").write_text(json.dumps(finding) + "\n")
    stage = {"name": "findings", "epochs": 4}
    run = Training(training.tool, tmp_path, data, {**RECIPE, "memory_gib": 0, "stages": [stage]})
    done = run.run("run")
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if "the CT does not cover" in line]
    assert len(warnings) == 1, done.stderr
    assert warnings[0].startswith(f"warning: exam {finding['exam']}, lesions {finding['label']}: ")


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


def test_the_checkpoint_is_laid_out_as_the_reference_is(training: Training, whole: dict[str, bytes]) -> None:
    """Read by Hugging Face's own package; names and shapes are those of the network in Tests/Fixtures."""
    folder = training.folder / "whole" / "3-findings"
    model, config = RECIPE["model"], json.loads((folder / "config.json").read_text())
    heads = model["num_attention_heads"]
    spec = checkpoint.ModelSpec(
        seed=0, family="phi3", image=tuple(model["image_size"]), patch=tuple(model["patch_size"]),
        vision_width=model["vision_width"], vision_layers=model["vision_layers"], vision_mlp=model["vision_mlp"],
        hidden=model["hidden_size"], layers=model["num_hidden_layers"], heads=heads, kv_heads=heads,
        ffn=model["intermediate_size"], vocabulary=config["vocab_size"],
    )  # fmt: skip
    tensors = load_file(folder / "model.safetensors")
    assert {name: values.shape for name, values in tensors.items()} == {
        name: shape for name, shape, _ in checkpoint.tensor_specs(spec)
    }
    assert all(values.dtype == np.float32 and np.isfinite(values).all() for values in tensors.values())
    assert config["torch_dtype"] == "float32"


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
    for words in ([], ["runs"], ["run"], ["run", "--without", "pet"], ["bench", "many"], ["bench", "1", "2", "3"]):
        if words == ["run", "--without", "pet"]:
            words = training.command("nothing", "--without", "pet")[1:]
        refused = subprocess.run([training.tool, *words], capture_output=True, text=True)
        assert refused.returncode == USAGE and refused.stderr.startswith("petar-train: "), words
    assert not (training.folder / "nothing").exists()


def test_a_run_told_as_json_and_without_an_input(training: Training, tmp_path: Path) -> None:
    stages = [{"name": "organs", "tasks": ["organ"], "epochs": 1, "questions_per_exam": 1, "warm_up": 0}]
    run = Training(training.tool, tmp_path, training.data, {**RECIPE, "stages": stages})
    told = {}
    for without in ("", "ct,mask"):
        done = run.run(f"run-{without}", "--json", *(["--without", without] if without else []))
        assert done.returncode == 0, done.stderr
        told[without] = json.loads(done.stdout)
        assert told[without]["checkpoint"] == str(tmp_path / f"run-{without}" / "1-organs")
        assert told[without]["run"] == json.loads((tmp_path / f"run-{without}" / "run.json").read_text())
    assert [told[without]["run"]["without"] for without in told] == [[], ["ct", "mask"]]
    assert run.model("run-")["1-organs/model.safetensors"] != run.model("run-ct,mask")["1-organs/model.safetensors"]


def test_bench(training: Training) -> None:
    done = subprocess.run([training.tool, "bench", "1", "1"], check=True, capture_output=True, text=True)
    assert "1 threads" in done.stdout and float(done.stdout.split()[-1]) > 0
