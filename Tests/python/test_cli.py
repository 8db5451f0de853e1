"""petar-describe and the C example: the same text as Python's for the same exam, and honest exit codes."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import struct
import subprocess
import termios
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import petar
import pytest
from conftest import Exam

TOKENS = 12
OUTSIDE = ("released", "air")
#: Of fcntl, which has a name for it from Python 3.10 on.
F_SETPIPE_SZ = 1031


@pytest.fixture(scope="module")
def describe(bin_dir: Path, model_path: Path, exam: Exam) -> Any:
    def run(
        *arguments: object, environment: dict[str, str] | None = None, **changed: Path
    ) -> subprocess.CompletedProcess[str]:
        paths = {"model": model_path, "pet": exam.pet, "ct": exam.ct, "mask": exam.lesions, **changed}
        command = [str(bin_dir / "petar-describe")]
        for name, path in paths.items():
            command += [f"--{name}", str(path)]
        command += map(str, arguments)
        return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(environment or {})})

    return run


@pytest.fixture(scope="module")
def finding(model: petar.Model, exam: Exam) -> petar.Finding:
    return model.describe(exam.pet, exam.ct, exam.lesions, label=1, max_tokens=TOKENS)


def test_text_is_written_to_standard_output(describe: Any, finding: petar.Finding) -> None:
    result = describe("--label", 1, "--max-tokens", TOKENS)
    assert result.returncode == 0, result.stderr
    assert result.stdout.rstrip("\n") == finding.text.rstrip("\n")


def test_random_weights_are_told(describe: Any, models_dir: Path) -> None:
    result = describe("--label", 1, "--max-tokens", 1, model=models_dir / "demo-q8.petar")
    assert result.returncode == 0, result.stderr
    assert "random" in result.stderr and "random" not in result.stdout


def test_json_holds_what_python_gives(describe: Any, finding: petar.Finding) -> None:
    result = describe("--label", 1, "--max-tokens", TOKENS, "--json", "--threads", 1)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["finding"] == finding.text
    assert report["tokens"] == list(finding.tokens)
    assert report["question"] == finding.question
    assert report["stop_reason"] == finding.stop_reason
    assert report["geometry"] == finding.geometry
    assert report["model"] == finding.model
    assert set(report["timings_s"]) == {"load", "prepare", "encode", "prefill", "decode"}
    assert isinstance(report["warnings"], list)


def test_question_reaches_the_model(describe: Any, model: petar.Model, exam: Exam) -> None:
    question = "Where is the lesion?"
    expected = model.describe(exam.pet, exam.ct, exam.lesions, label=2, max_tokens=TOKENS, question=question)
    report = json.loads(describe("--label", 2, "--max-tokens", TOKENS, "--question", question, "--json").stdout)
    assert report["question"] == question
    assert report["tokens"] == list(expected.tokens)


def test_sampling_settings_reach_the_model(describe: Any, model: petar.Model, exam: Exam) -> None:
    expected = model.describe(
        exam.pet, exam.ct, exam.lesions, label=1, max_tokens=TOKENS, temperature=2, top_p=0.9, seed=7
    )
    sampling = ("--temperature", 2, "--top-p", 0.9, "--seed", 7)
    report = json.loads(describe("--label", 1, "--max-tokens", TOKENS, "--json", *sampling).stdout)
    assert report["tokens"] == list(expected.tokens)


@pytest.mark.parametrize("batch", [(), ("--batch", 1), ("--batch=2",)])
def test_each_label_writes_one_line_a_lesion(
    describe: Any, model: petar.Model, exam: Exam, batch: tuple[object, ...]
) -> None:
    result = describe("--each-label", "--max-tokens", TOKENS, *batch)
    assert result.returncode == 0, result.stderr
    lines = {line["label"]: line for line in map(json.loads, result.stdout.splitlines())}
    assert len(lines) == len(result.stdout.splitlines())
    expected = model.describe_each_label(exam.pet, exam.ct, exam.lesions, max_tokens=TOKENS)
    texts = {label: finding.text for label, finding in expected if isinstance(finding, petar.Finding)}
    assert {label: line["finding"] for label, line in lines.items()} == texts


def test_each_label_writes_a_line_as_soon_as_the_lesion_is_finished(
    bin_dir: Path, model_path: Path, exam: Exam
) -> None:
    paths = {"--model": model_path, "--pet": exam.pet, "--ct": exam.ct, "--mask": exam.lesions}
    command = [str(bin_dir / "petar-describe"), "--each-label", "--batch", "1", "--max-tokens", "300"]
    for option, path in paths.items():
        command += [option, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        rest, messages = process.communicate(timeout=60)
    # What was finished is there, the interrupted lesions have no line.
    assert first["label"] == 1 and first["finding"]
    assert process.returncode == 20 and b"cancelled" in messages
    assert len(rest.splitlines()) < 2


def test_batch_is_for_each_label(describe: Any) -> None:
    for arguments in (("--batch", 2), ("--each-label", "--batch", 0), ("--each-label", "--batch", 17)):
        result = describe(*arguments)
        assert result.returncode == 2 and "--batch" in result.stderr


def test_dump_writes_what_the_network_saw(describe: Any, model: petar.Model, exam: Exam, tmp_path: Path) -> None:
    folder = tmp_path / "dump"
    result = describe("--label", 1, "--max-tokens", 1, "--dump", folder)
    assert result.returncode == 0, result.stderr
    views = model.prepare(exam.pet, exam.ct, exam.lesions, label=1)
    for name in ("pet", "mask", "ct", "pet_focal", "mask_focal", "ct_focal"):
        np.testing.assert_array_equal(np.load(folder / f"{name}.npy"), views[name])
    vision = model.encode(exam.pet, exam.ct, exam.lesions, label=1)
    np.testing.assert_array_equal(np.load(folder / "vision.npy"), vision)
    logits = np.load(folder / "logits.npy")
    assert logits.shape == (model.info.vocabulary_size,)
    np.testing.assert_array_equal(logits, model.logits(model.prompt(), vision)[0])


def test_a_lesion_that_fails_does_not_stop_the_others(describe: Any, exam: Exam, tmp_path: Path) -> None:
    image = nibabel.load(exam.lesions)
    labels = np.asarray(image.dataobj).astype(np.uint8)
    labels[labels == 2] = 0
    labels[:2, :2, -1] = 2  # in the slices above the head, which are dropped
    mask = tmp_path / "lesions.nii.gz"
    nibabel.save(nibabel.Nifti1Image(labels, image.affine), mask)
    result = describe("--each-label", "--max-tokens", 2, mask=mask)
    lines = {line["label"]: line for line in map(json.loads, result.stdout.splitlines())}
    assert sorted(lines) == [1, 2, 3]
    assert lines[1]["finding"] and lines[3]["finding"]
    assert lines[2]["error"]["status"] == result.returncode == 54
    assert "head" in lines[2]["error"]["message"] and "label 2" in result.stderr


def test_interrupt_cancels(bin_dir: Path, model_path: Path, exam: Exam) -> None:
    paths = {"--model": model_path, "--pet": exam.pet, "--ct": exam.ct, "--mask": exam.lesions}
    command = [str(bin_dir / "petar-describe"), "--label", "1", "--max-tokens", "3000"]
    for option, path in paths.items():
        command += [option, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(1)  # the text has begun
        process.send_signal(signal.SIGINT)
        _, messages = process.communicate(timeout=60)
    assert process.returncode == 20
    assert b"cancelled" in messages


def test_environment_chooses_the_instruction_set(describe: Any, models_dir: Path) -> None:
    # The smallest model: scalar code is slow.
    arguments = ("--label", 1, "--max-tokens", 3, "--json")
    model = models_dir / "small-views-q8.petar"
    usual = json.loads(describe(*arguments, model=model).stdout)
    scalar = json.loads(describe(*arguments, model=model, environment={"PETAR_ISA": "scalar"}).stdout)
    assert scalar["settings"]["instruction_set"] == "scalar"
    assert scalar["tokens"] == usual["tokens"]
    refused = describe(*arguments, model=model, environment={"PETAR_ISA": "imaginary"})
    assert refused.returncode == 12
    assert all(word in refused.stderr for word in ("PETAR_ISA", "imaginary", "scalar"))


def test_values_follow_an_equals_sign_too(describe: Any) -> None:
    arguments = ("--label=1", "--max-tokens=2", "--question=Where?", "--json")
    report = json.loads(describe(*arguments).stdout)
    assert report["question"] == "Where?" and len(report["tokens"]) == 2


# ---- How the exam is to be read, and the machine to be used ----


def test_becquerels_with_their_factor_are_suv(
    describe: Any, finding: petar.Finding, exam: Exam, tmp_path: Path
) -> None:
    image = nibabel.load(exam.pet)
    activity = tmp_path / "activity.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj, np.float64) * 4096, image.affine), activity)
    arguments = ("--label", 1, "--max-tokens", TOKENS)
    refused = describe(*arguments, pet=activity)
    assert refused.returncode == 52 and "Bq/mL" in refused.stderr
    result = describe(*arguments, "--pet-unit", "bqml", "--suv-factor", 1 / 4096, pet=activity)
    assert result.returncode == 0, result.stderr
    assert result.stdout == finding.text + "\n"


def test_ct_outside_its_field_of_view(describe: Any, model: petar.Model, exam: Exam, tmp_path: Path) -> None:
    narrow = tmp_path / "narrow.nii.gz"
    nibabel.save(nibabel.load(exam.ct).slicer[20:-20], narrow)
    views = {outside: model.prepare(exam.pet, narrow, exam.lesions, label=1, ct_outside=outside) for outside in OUTSIDE}
    assert (views["air"]["ct"] < views["released"]["ct"]).any()
    for outside in OUTSIDE:
        folder = tmp_path / outside
        result = describe("--label", 1, "--max-tokens", 1, "--ct-outside", outside, "--dump", folder, ct=narrow)
        assert result.returncode == 0, result.stderr
        np.testing.assert_array_equal(np.load(folder / "ct.npy"), views[outside]["ct"])


def test_isa_forces_an_instruction_set(describe: Any, models_dir: Path) -> None:
    arguments = ("--label", 1, "--max-tokens", 1, "--json")
    # The smallest model: scalar code is slow.
    result = describe(*arguments, "--isa", "scalar", model=models_dir / "small-views-q8.petar")
    assert json.loads(result.stdout)["settings"]["instruction_set"] == "scalar"
    refused = describe(*arguments, "--isa", "imaginary")
    assert refused.returncode == 12 and "imaginary" in refused.stderr


def test_verify_finds_a_changed_tensor(describe: Any, models_dir: Path, tmp_path: Path) -> None:
    whole = models_dir / "small-views-q8.petar"
    arguments = ("--label", 1, "--max-tokens", 1)
    assert describe(*arguments, "--verify", model=whole).returncode == 0
    data = bytearray(whole.read_bytes())
    data[len(data) // 2] ^= 1
    changed = tmp_path / "changed.petar"
    changed.write_bytes(data)
    assert describe(*arguments, model=changed).returncode == 0
    refused = describe(*arguments, "--verify", model=changed)
    assert refused.returncode == 42 and "changed.petar" in refused.stderr and refused.stdout == ""


# ---- Failures ----


def test_failures_have_their_exit_code_and_a_message(describe: Any, tmp_path: Path) -> None:
    broken = tmp_path / "broken.petar"
    broken.write_bytes(b"nothing")
    for code, result in (
        (40, describe(model=tmp_path / "absent.petar")),
        (41, describe(model=broken)),
        (40, describe(pet=tmp_path / "absent.nii.gz")),
        (50, describe(ct=broken)),
        (53, describe("--label", 77)),
        (61, describe("--max-tokens", 1 << 30)),
        (2, describe("--max-tokens", "many")),
        (2, describe("--max-tokens", 1 << 31)),
        (2, describe("--imaginary")),
    ):
        assert result.returncode == code, result.stderr
        assert result.stdout == ""
        assert len(result.stderr.strip()) > 10


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--each-label", "--label", 1), "--each-label does not go with --label or --dump"),
        (("--each-label", "--dump", "folder"), "--each-label does not go with --label or --dump"),
        (("--pet-unit", "bqml"), "--pet-unit bqml and --suv-factor go together"),
        (("--suv-factor", 0.5), "--pet-unit bqml and --suv-factor go together"),
        (("--pet-unit", "kbqml"), "--pet-unit kbqml: it is one of suv, bqml"),
        (("--ct-outside", "water"), "--ct-outside water: it is one of released, air"),
    ],
)
def test_settings_that_do_not_go_together(describe: Any, arguments: tuple[object, ...], words: str) -> None:
    result = describe(*arguments)
    assert result.returncode == 2 and result.stdout == ""
    assert words in result.stderr and "petar-describe --help" in result.stderr


def test_usage_and_version_are_told(bin_dir: Path) -> None:
    for tool in ("petar-describe", "petar-convert", "petar-train", "petar-bench"):
        asked = subprocess.run([str(bin_dir / tool), "--help"], capture_output=True, text=True)
        assert asked.returncode == 0 and tool in asked.stdout
        wrong = subprocess.run([str(bin_dir / tool)], capture_output=True, text=True)
        assert wrong.returncode == 2 and tool in wrong.stderr
        version = subprocess.run([str(bin_dir / tool), "--version"], capture_output=True, text=True)
        assert version.returncode == 0 and version.stdout.startswith(f"{tool} {petar.version()}")


# ---- Standard output that takes nothing ----


@pytest.fixture(scope="module")
def command(bin_dir: Path, models_dir: Path, exam: Exam) -> list[str]:
    paths = {"model": models_dir / "small-views-q8.petar", "pet": exam.pet, "ct": exam.ct, "mask": exam.lesions}
    options = [word for name, path in paths.items() for word in (f"--{name}", str(path))]
    return [str(bin_dir / "petar-describe"), *options, "--max-tokens", "2"]


@pytest.mark.parametrize("option", ["--label=1", "--json", "--each-label"])
def test_a_finding_that_cannot_be_written_is_a_failure(command: list[str], option: str) -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run([*command, option], stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 40
    # Said once, however many lesions are lost.
    assert result.stderr.count("standard output cannot be written") == 1 and "No space left" in result.stderr


@pytest.mark.parametrize(
    ("tool", "code"), [("petar-describe", 40), ("petar-convert", 4), ("petar-train", 4), ("petar-bench", 1)]
)
def test_help_that_cannot_be_written_is_a_failure(bin_dir: Path, tool: str, code: int) -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run([str(bin_dir / tool), "--help"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == code and "No space left" in result.stderr


def test_a_slow_reader_of_a_pipe_that_does_not_block_gets_everything(command: list[str]) -> None:
    reader, writer = os.pipe()
    capacity = fcntl.fcntl(writer, F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    finding = [*command[:-1], "300", "--label", "1", "--json"]
    with os.fdopen(reader) as pipe, subprocess.Popen(finding, stdout=writer) as process:
        os.close(writer)
        waiting = 0
        while waiting < capacity and process.poll() is None:
            (waiting,) = struct.unpack("i", fcntl.ioctl(reader, termios.FIONREAD, bytes(4)))
        text = pipe.read()
    assert process.returncode == 0
    assert len(text) > capacity and json.loads(text)["finding"]


# ---- The C example, built as a user builds it: from an installed copy, by pkg-config ----


@pytest.fixture(scope="module")
def prefix(root: Path, library_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("install") / "usr"
    make = ["make", "-s", "-C", str(root), "install-files", f"PREFIX={folder}"]
    subprocess.run(make, check=True, env={**os.environ, "MAKEFLAGS": ""})
    return folder


@pytest.mark.parametrize("compiler", ["gcc -std=c11", "g++ -x c++"])
def test_c_example_gives_the_same_text(
    compiler: str, prefix: Path, root: Path, model: petar.Model, model_path: Path, exam: Exam, tmp_path: Path
) -> None:
    environment = {
        **os.environ,
        "PKG_CONFIG_PATH": str(prefix / "lib/pkgconfig"),
        "LD_LIBRARY_PATH": str(prefix / "lib"),
    }
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "petar"], check=True, capture_output=True, text=True, env=environment
    ).stdout.split()
    program, source = tmp_path / "example", root / "Bindings" / "c" / "example.c"
    warnings = ["-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run([*compiler.split(), *warnings, str(source), "-o", str(program), *flags], check=True)
    paths = [str(path) for path in (model_path, exam.pet, exam.ct, exam.lesions)]
    result = subprocess.run([str(program), *paths], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    assert result.stdout == model.describe(exam.pet, exam.ct, exam.lesions).text + "\n"
    refused = subprocess.run([str(program), "absent", *paths[1:]], capture_output=True, text=True, env=environment)
    assert refused.returncode == 1 and "PETAR_ERROR_IO" in refused.stderr


def test_cmake_finds_the_package(prefix: Path, root: Path, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\n"
        "project(example C)\n"
        "find_package(petar 0.1 REQUIRED)\n"
        f'add_executable(example "{root}/Bindings/c/example.c")\n'
        "target_link_libraries(example PRIVATE petar::petar)\n"
    )
    build = tmp_path / "build"
    subprocess.run(["cmake", "-S", tmp_path, "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}"], check=True)
    subprocess.run(["cmake", "--build", build], check=True)
    refused = subprocess.run([build / "example", "absent", "a", "b", "c"], capture_output=True, text=True)
    assert refused.returncode == 1 and "PETAR_ERROR_IO" in refused.stderr


def test_installed_files(prefix: Path) -> None:
    library = prefix / "lib" / "libpetar.so"
    assert library.is_symlink() and library.resolve().name == "libpetar.so.0.1.0"
    assert (prefix / "lib" / "libpetar.so.0").is_symlink()
    for name in ("include/petar.h", "bin/petar-describe", "bin/petar-convert", "lib/cmake/petar/petar-config.cmake"):
        assert (prefix / name).is_file()
    version = (prefix / "lib/cmake/petar/petar-config-version.cmake").read_text()
    assert f'"{petar.version()}"' in version
