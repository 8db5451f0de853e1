"""petar-convert as a person meets it: what it makes, says and refuses, its exit codes, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import petar
import pytest
from conftest import SMALL_SPEC
from reference import checkpoint

USAGE, REFUSED, NOT_READ, DAMAGED, INTERRUPTED = 2, 3, 4, 5, 130

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def convert(bin_dir: Path) -> Run:
    def run(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([bin_dir / "petar-convert", *map(str, words)], capture_output=True, text=True)

    return run


@pytest.fixture
def folder(small_checkpoint: Path) -> Path:
    return small_checkpoint


def rename_tensor(folder: Path, old: str, new: str) -> None:
    """In the header of model.safetensors; both names must be of one length."""
    assert len(old) == len(new)
    path = folder / "model.safetensors"
    data = path.read_bytes()
    assert f'"{old}"'.encode() in data
    path.write_bytes(data.replace(f'"{old}"'.encode(), f'"{new}"'.encode()))


@pytest.mark.parametrize("weights", ["f32", "f16", "q8", "q4"])
def test_convert_inspect_verify(convert: Run, folder: Path, tmp_path: Path, weights: str) -> None:
    output = tmp_path / "small.petar"
    converted = convert(folder, "-o", output, "--weights", weights, "--name", "small one")
    assert converted.returncode == 0, converted.stderr
    assert "converting 100%" in converted.stderr
    with petar.Model(output, verify=True) as model:
        assert model.metadata["name"] == "small one"
        assert model.metadata["weights"] == weights
        digest, parameters = str(model.metadata["hash"]), model.info.parameter_count
    # What quantization cost, for each kind of tensor and for the worst.
    for words in ("vision qkv", "decoder qkv", "projector", digest, f"{parameters} parameters"):
        assert words in converted.stdout
    assert ("worst: " in converted.stdout) == (weights != "f32")

    shown = convert("inspect", output)
    assert shown.returncode == 0 and "small one" in shown.stdout and digest in shown.stdout
    assert f"bits in {weights}" in shown.stdout
    report = json.loads(convert("inspect", output, "--json").stdout)
    assert report["hash"] == digest
    assert sum(1 for tensor in report["tensors"] if "embedding" in tensor["name"]) > 0
    verified = convert("verify", output)
    assert verified.returncode == 0 and digest in verified.stdout


def test_wrong_usage(convert: Run, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "small.petar"
    for words in (
        (folder,),
        (folder, "-o", output),
        (folder, "--weights", "q8"),
        (folder, "-o", output, "--weights", "q9"),
        (folder, "-o", output, "--weights", "q8", "--threads", "0"),
        (folder, "-o", output, "--weights", "q8", "--imaginary"),
        (folder, folder, "-o", output, "--weights", "q8"),
        ("-o", output, "--weights", "q8"),
        (folder, "-o", output, "--weights", "q8", "--calibrate", "texts.txt"),
        ("inspect",),
        ("verify", output, output),
    ):
        result = convert(*words)
        assert (result.returncode, result.stdout) == (USAGE, ""), words
        assert "petar-convert --help" in result.stderr
    assert not output.exists()


def test_a_mistyped_command_is_no_folder_without_output(convert: Run, folder: Path) -> None:
    mistyped = convert("inspct")
    assert mistyped.returncode == USAGE
    assert "inspct: there is neither a command nor a checkpoint folder of this name" in mistyped.stderr
    assert "-o FILE.petar is missing" in convert(folder).stderr


def test_q4_says_whether_it_was_calibrated(convert: Run, folder: Path, tmp_path: Path) -> None:
    def converted(*options: object) -> tuple[str, str]:
        output = tmp_path / "small.petar"
        result = convert(folder, "-o", output, "--weights", "q4", *options)
        assert result.returncode == 0, result.stderr
        with petar.Model(output) as model:
            provenance = model.metadata["provenance"]
            assert isinstance(provenance, dict)
            return result.stdout, provenance["tool"]

    said, tool = converted()
    assert "NOT CALIBRATED" in said and "--calibrate" in said and "calibrated" not in tool
    texts = tmp_path / "texts.txt"
    texts.write_text("There is a nodule in the lung.\n\nThere is a lymph node in the neck.\n")
    said, tool = converted("--calibrate", texts)
    assert "NOT CALIBRATED" not in said and "tokens of 2 texts of texts.txt" in said
    assert tool.endswith("tokens of 2 texts of texts.txt")
    (folder / "typical_findings.txt").write_text("There is a nodule in the liver.\n")
    said, tool = converted()
    assert tool.endswith("tokens of 1 texts of typical_findings.txt")

    absent = convert(folder, "-o", tmp_path / "other.petar", "--weights", "q4", "--calibrate", tmp_path / "absent.txt")
    assert absent.returncode == NOT_READ and "absent.txt" in absent.stderr
    texts.write_text("\n")
    empty = convert(folder, "-o", tmp_path / "other.petar", "--weights", "q4", "--calibrate", texts)
    assert empty.returncode == REFUSED and "texts.txt" in empty.stderr


def test_every_wrong_tensor_is_named(convert: Run, folder: Path, tmp_path: Path) -> None:
    rename_tensor(folder, "model.layers.0.mlp.down_proj.weight", "model.layers.0.mlp.dawn_proj.weight")
    rename_tensor(folder, "model.vision_tower.ct_tower.norm.bias", "model.vision_tower.ct_tower.norm.bios")
    result = convert(folder, "-o", tmp_path / "small.petar", "--weights", "q8")
    assert (result.returncode, result.stdout) == (REFUSED, "")
    for name in ("down_proj", "dawn_proj", "norm.bias", "norm.bios"):
        assert name in result.stderr
    assert sorted(tmp_path.iterdir()) == [folder]


def test_a_pickle_is_refused_with_the_way_out(convert: Run, folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    result = convert(folder, "-o", tmp_path / "small.petar", "--weights", "q8")
    assert result.returncode == REFUSED
    assert "pytorch_model.bin" in result.stderr and "safetensors" in result.stderr
    assert sorted(tmp_path.iterdir()) == [folder]


def test_places_that_cannot_be_read_or_written(convert: Run, folder: Path, tmp_path: Path) -> None:
    for words in (
        (tmp_path / "absent", "-o", tmp_path / "small.petar", "--weights", "q8"),
        (folder, "-o", tmp_path / "absent" / "small.petar", "--weights", "q8"),
        (folder, "-o", folder, "--weights", "q8"),
        ("inspect", tmp_path / "absent.petar"),
        ("verify", tmp_path / "absent.petar"),
    ):
        result = convert(*words)
        assert (result.returncode, result.stdout) == (NOT_READ, ""), words
        assert str(words[0 if words[0] == tmp_path / "absent" else -1 if len(words) == 2 else 2]) in result.stderr


def test_damaged_files(convert: Run, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "small.petar"
    assert convert(folder, "-o", output, "--weights", "q8").returncode == 0
    data = bytearray(output.read_bytes())
    for place, commands in ((5000, ["verify"]), (100, ["inspect", "verify"]), (0, ["inspect", "verify"])):
        changed = bytearray(data)
        changed[place] ^= 1
        output.write_bytes(changed)
        for command in commands:
            result = convert(command, output)
            assert (result.returncode, result.stdout) == (DAMAGED, "")
            assert output.name in result.stderr


def test_a_refused_conversion_keeps_the_old_file(convert: Run, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "small.petar"
    assert convert(folder, "-o", output, "--weights", "q8").returncode == 0
    before = output.read_bytes()
    # Not finite: found only while tensors are being written.
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-4:] = struct.pack("<f", float("nan"))
    path.write_bytes(data)
    assert convert(folder, "-o", output, "--weights", "f32").returncode == REFUSED
    assert output.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [folder, output]


@pytest.mark.parametrize("weights", ["q8", "q4"])
def test_synth_makes_a_model_of_random_weights(convert: Run, tmp_path: Path, weights: str) -> None:
    output = tmp_path / "random.petar"
    made = convert("synth", "--shape", "petar-4b-2-layers", "--weights", weights, "-o", output)
    assert made.returncode == 0, made.stderr
    assert "THE WEIGHTS ARE RANDOM" in made.stdout
    report = json.loads(convert("inspect", output, "--json").stdout)
    assert (report["name"], report["weights"]) == ("petar-4b-2-layers", weights)
    assert report["file_bytes"] == output.stat().st_size and report["hash"] in made.stdout
    assert report["provenance"]["random_weights"] is True
    assert report["decoder"]["layers"] == report["vision"]["layers"] == 2 and report["decoder"]["vocabulary"] == 2048
    output.unlink()  # 300 MB


def test_synth_refuses_what_it_does_not_know(convert: Run, tmp_path: Path) -> None:
    output = tmp_path / "random.petar"
    for words, message in (
        (
            ("--shape", "petar-5b", "--weights", "q8", "-o", output),
            "--shape petar-5b: it is one of petar-4b, petar-4b-2-layers",
        ),
        (("--shape", "petar-4b", "--weights", "q9", "-o", output), "--weights q9: it is one of"),
        (("--shape", "petar-4b", "--weights", "q8"), "-o is missing"),
        (("--shape", "petar-4b", "--weights", "q8", "-o", output, "--seed", "-1"), "--seed -1"),
        (("petar-4b", "--weights", "q8", "-o", output), "only options are expected"),
    ):
        refused = convert("synth", *words)
        assert (refused.returncode, refused.stdout) == (USAGE, ""), words
        assert message in refused.stderr
    assert not output.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_conversion_leaves_nothing(
    bin_dir: Path, folder: Path, tmp_path: Path, number: signal.Signals
) -> None:
    # Large enough to be still at work when it has spoken for the first time; a hole in the file takes no space.
    spec = replace(SMALL_SPEC, hidden=2048, ffn=8192, layers=2)
    header: dict[str, object] = {}
    offset = 0
    for name, shape, _ in checkpoint.tensor_specs(spec):
        size = 4
        for side in shape:
            size *= side
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + offset)
    checkpoint.write_config(spec, folder)

    output = tmp_path / "large.petar"
    command = [str(bin_dir / "petar-convert"), str(folder), "-o", str(output), "--weights", "q8", "--threads", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "converting 0%\n"
        assert not output.exists()
        os.kill(process.pid, number)
        _, rest = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert "interrupted" in rest
    assert sorted(tmp_path.iterdir()) == [folder]
