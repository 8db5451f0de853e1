"""Many lesions from Python: the findings of one-by-one runs, each as soon as it ends, errors, interrupts, volumes."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Union

import nibabel
import numpy as np
import petar
import pytest
from conftest import Exam
from petar import _errors, _volumes

Results = Iterator[tuple[int, Union[petar.Finding, petar.PetarError]]]
SAMPLING: dict[str, Any] = {"max_tokens": 24, "temperature": 2.0, "seed": 5}
LONG = 400


@pytest.fixture(scope="module")
def small(models_dir: Path) -> Generator[petar.Model, None, None]:
    """The smallest model: the tests describe many lesions."""
    with petar.Model(models_dir / "small-views-q8.petar") as opened:
        yield opened


@pytest.fixture(scope="module")
def exams(exam: Exam) -> list[petar.Exam]:
    """Each lesion and all of them together, with the CT continued in two ways."""
    return [
        petar.Exam(exam.pet, exam.ct, exam.lesions, label=label, ct_outside=outside)
        for outside in ("released", "air")
        for label in (1, 2, 3, 0)
    ]


@pytest.fixture(scope="module")
def alone(small: petar.Model, exams: list[petar.Exam]) -> list[petar.Finding]:
    """Each exam's finding when it is described by itself."""
    return [
        small.describe(each.pet, each.ct, each.mask, label=each.label, ct_outside=each.ct_outside, **SAMPLING)
        for each in exams
    ]


def findings(results: Results) -> dict[int, petar.Finding]:
    """All findings by index or label; none has failed, none comes twice."""
    found: dict[int, petar.Finding] = {}
    for index, result in results:
        assert isinstance(result, petar.Finding) and index not in found
        found[index] = result
    return found


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> list[petar.PetarError]:
    """What the library said of lesions that have no finding, also where the caller heard nothing of it."""
    said: list[petar.PetarError] = []

    def error(status: int, message: str) -> petar.PetarError:
        said.append(_errors.error(status, message))
        return said[-1]

    monkeypatch.setattr("petar._describe.error", error)
    return said


def no_call_is_running() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name == "petar"]


def cancelled(failures: list[petar.PetarError]) -> bool:
    """Some lesions were, and nothing else went wrong."""
    return bool(failures) and all(isinstance(failure, petar.Cancelled) for failure in failures)


# ---- The same findings ----


@pytest.mark.parametrize(("width", "threads"), [(None, None), (1, 2), (3, 1), (16, 3)])
def test_a_batch_gives_the_findings_of_one_by_one_runs(
    small: petar.Model, exams: list[petar.Exam], alone: list[petar.Finding], width: int | None, threads: int | None
) -> None:
    found = findings(small.describe_batch(exams, width=width, threads=threads, **SAMPLING))
    assert sorted(found) == list(range(len(exams)))
    assert len({each.tokens for each in alone}) > 1
    for index, expected in enumerate(alone):
        assert found[index].tokens == expected.tokens and found[index].text == expected.text
        assert found[index].label == exams[index].label
        assert found[index].geometry == expected.geometry


def test_each_label_gives_the_finding_of_that_label(small: petar.Model, exam: Exam, alone: list[petar.Finding]) -> None:
    found = findings(small.describe_each_label(exam.pet, exam.ct, exam.lesions, **SAMPLING))
    assert sorted(found) == [1, 2, 3]
    for label, finding in found.items():
        assert finding.label == label and finding.tokens == alone[label - 1].tokens


def test_each_label_takes_the_labels_asked_for_and_how_to_read_the_exam(
    small: petar.Model, exam: Exam, alone: list[petar.Finding]
) -> None:
    activity = (np.asarray(nibabel.load(exam.pet).dataobj, np.float64) * 4096, nibabel.load(exam.pet).affine)
    found = findings(
        small.describe_each_label(
            activity,
            exam.ct,
            exam.lesions,
            labels=[3, 1],
            pet_unit="bqml",
            suv_factor=1 / 4096,
            ct_outside="air",
            **SAMPLING,
        )
    )
    assert sorted(found) == [1, 3]
    assert found[1].tokens == alone[4].tokens and found[3].tokens == alone[6].tokens


def test_batches_in_two_threads_at_once(
    small: petar.Model, exams: list[petar.Exam], alone: list[petar.Finding]
) -> None:
    def describe(_: int) -> dict[int, petar.Finding]:
        return findings(small.describe_batch(exams[:4], threads=1, **SAMPLING))

    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(describe, range(2)):
            assert [found[index].tokens for index in range(4)] == [each.tokens for each in alone[:4]]


def test_no_exam_is_no_finding(small: petar.Model) -> None:
    assert list(small.describe_batch([])) == []


# ---- Errors ----


def test_what_fails_for_one_lesion_stops_no_other(
    small: petar.Model, exams: list[petar.Exam], alone: list[petar.Finding], tmp_path: Path
) -> None:
    broken = [*exams[:4], replace(exams[0], label=77), replace(exams[0], ct=tmp_path / "absent.nii.gz")]
    results = dict(small.describe_batch(broken, width=2, **SAMPLING))
    assert sorted(results) == list(range(6))
    for index in range(4):
        finding = results[index]
        assert isinstance(finding, petar.Finding) and finding.tokens == alone[index].tokens
    assert isinstance(results[4], petar.EmptyMask) and "77" in results[4].message
    assert isinstance(results[5], petar.FileError) and "absent.nii.gz" in results[5].message


def test_wrong_arguments_are_refused(small: petar.Model, exam: Exam, exams: list[petar.Exam]) -> None:
    for settings, refusal in (
        ({"width": 17}, petar.InvalidArgument),
        ({"width": -1}, petar.InvalidArgument),
        ({"max_tokens": -1}, petar.InvalidArgument),
        ({"max_tokens": 1 << 30}, petar.ContextFull),
        ({"width": 2**32 + 1}, ValueError),
        ({"question": "a\0b"}, ValueError),
    ):
        arguments: dict[str, Any] = settings
        with pytest.raises(refusal):
            next(small.describe_batch(exams, **arguments))
    with pytest.raises(ValueError, match="ct_outside"):
        petar.Exam(exam.pet, exam.ct, exam.lesions, ct_outside="water")
    with pytest.raises(TypeError, match="pet_units"):
        small.describe(exam.pet, exam.ct, exam.lesions, pet_units="suv")  # type: ignore[call-arg]


# ---- As each ends, and ends that come early ----


def test_a_finding_comes_while_the_others_go_on(small: petar.Model, exams: list[petar.Exam]) -> None:
    progress: list[tuple[str, float]] = []
    results = small.describe_batch(
        exams, width=1, on_progress=lambda stage, fraction: progress.append((stage, fraction)), **SAMPLING
    )
    index, _ = next(results)
    assert index == 0 and progress
    assert max(fraction for _, fraction in progress) < 0.5
    assert sorted(findings(results)) == list(range(1, len(exams)))
    for stage in ("prepare", "encode", "prefill", "decode"):
        fractions = [fraction for name, fraction in progress if name == stage]
        assert fractions == sorted(fractions) and fractions[-1] == 1


def test_closing_the_generator_ends_the_work(
    small: petar.Model, exams: list[petar.Exam], alone: list[petar.Finding], failures: list[petar.PetarError]
) -> None:
    results = small.describe_batch(exams, width=1, max_tokens=LONG)
    next(results)
    assert not no_call_is_running()
    results.close()
    assert no_call_is_running()
    assert cancelled(failures)
    # The session goes on.
    assert findings(small.describe_batch(exams[:1], **SAMPLING))[0].tokens == alone[0].tokens


def test_exception_in_on_progress_ends_the_work_and_reaches_the_caller(
    small: petar.Model, exams: list[petar.Exam], failures: list[petar.PetarError]
) -> None:
    def refuse(stage: str, _: float) -> None:
        if stage == "decode":
            raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        list(small.describe_batch(exams, width=1, max_tokens=LONG, on_progress=refuse))
    assert no_call_is_running()
    assert cancelled(failures)


def test_interrupt_loses_no_finding_that_is_done(
    small: petar.Model, exams: list[petar.Exam], failures: list[petar.PetarError]
) -> None:
    found: dict[int, object] = {}

    def interrupt(_stage: str, _fraction: float) -> None:
        if found:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        for index, result in small.describe_batch(exams, width=1, max_tokens=LONG, on_progress=interrupt):
            found[index] = result
    assert found and all(isinstance(result, petar.Finding) for result in found.values())
    assert len(found) + len(failures) == len(exams) and cancelled(failures) and no_call_is_running()


def test_a_program_that_ends_in_the_middle_does_not_wait_for_the_rest(model_path: Path, exam: Exam) -> None:
    program = (
        "import petar, sys\n"
        "model, pet, ct, mask = petar.Model(sys.argv[1]), *sys.argv[2:]\n"
        "results = model.describe_each_label(pet, ct, mask, labels=[1] * 10000, width=1, max_tokens=1)\n"
        "next(results)\n"
    )
    paths = [str(path) for path in (model_path, exam.pet, exam.ct, exam.lesions)]
    result = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0 and result.stderr == ""


# ---- Volumes ----


def test_what_several_exams_share_is_read_once(
    small: petar.Model, exam: Exam, alone: list[petar.Finding], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    load_volume = _volumes.load_volume

    def counted(source: petar.VolumeSource, role: str, *arguments: Any) -> Any:
        read.append(role)
        return load_volume(source, role, *arguments)

    monkeypatch.setattr("petar._exam.load_volume", counted)
    image = nibabel.load(exam.ct)
    voxels, affine = np.asanyarray(image.dataobj), image.affine
    labels = np.asarray(nibabel.load(exam.lesions).dataobj)
    # A mask for each lesion, as many tools write them.
    masks: Sequence[Any] = [((labels == label).astype(np.uint8), affine_of(exam.lesions)) for label in (1, 2, 3)]
    lesions = [petar.Exam(str(exam.pet), (voxels, affine), mask) for mask in masks]
    found = findings(small.describe_batch(lesions, **SAMPLING))
    assert sorted(read) == ["CT", "PET", "mask", "mask", "mask"]
    assert [found[index].tokens for index in range(3)] == [each.tokens for each in alone[:3]]


def affine_of(path: Path) -> Any:
    return nibabel.load(path).affine
