"""The Python package at work: inputs, streams, cancelling, threads, and the same bits from all of them."""

from __future__ import annotations

import os
import platform
import signal
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import petar
import pytest
from conftest import Exam
from petar import _abi, _describe

TOKENS = 12
#: More than any test waits for.
LONG = 3000


@pytest.fixture(scope="module")
def finding(model: petar.Model, exam: Exam) -> petar.Finding:
    return model.describe(exam.pet, exam.ct, exam.lesions, label=1, max_tokens=TOKENS)


@pytest.fixture(scope="module")
def vision(model: petar.Model, exam: Exam) -> Any:
    return model.encode(exam.pet, exam.ct, exam.lesions, label=1)


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> list[Future[Any]]:
    """How native calls ended of which the caller heard nothing, as an exception of its own came before."""
    made: list[Future[Any]] = []

    def future() -> Future[Any]:
        made.append(Future())
        return made[-1]

    monkeypatch.setattr("petar._native.Future", future)
    return made


# ---- The finding ----


def test_finding_is_complete(model: petar.Model, finding: petar.Finding) -> None:
    assert finding.text
    assert 0 < len(finding.tokens) <= TOKENS
    assert model.detokenize(finding.tokens) == finding.text
    assert finding.json["finding"] == finding.text
    assert finding.json["tokens"] == list(finding.tokens)
    assert finding.stop_reason == ("max_tokens" if len(finding.tokens) == TOKENS else "end_of_text")
    assert set(finding.timings_s) == {"load", "prepare", "encode", "prefill", "decode"}
    assert finding.geometry and finding.model["name"]


def test_warnings_are_in_the_finding_and_in_the_log(
    models_dir: Path, exam: Exam, caplog: pytest.LogCaptureFixture
) -> None:
    with petar.Model(models_dir / "demo-q8.petar") as demo:
        finding = demo.describe(exam.pet, exam.ct, exam.lesions, label=1, max_tokens=1)
    assert any("random" in warning for warning in finding.warnings)
    logged = [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "petar"]
    assert logged == [("WARNING", warning) for warning in finding.warnings]


def test_question_changes_the_prompt(model: petar.Model, finding: petar.Finding) -> None:
    assert model.prompt() == model.prompt(finding.question)
    assert model.prompt("Where is it?") != model.prompt()
    assert len(model.prompt("")) >= model.info.vision_tokens


@pytest.mark.parametrize("kind", ["str", "nibabel", "in_memory", "arrays", "c_order", "big_endian", "with_unit"])
def test_every_kind_of_input_gives_the_same_finding(
    model: petar.Model, exam: Exam, finding: petar.Finding, kind: str
) -> None:
    images = [nibabel.load(path) for path in (exam.pet, exam.ct, exam.lesions)]
    values = [np.asanyarray(image.dataobj) for image in images]
    affines = [image.affine for image in images]
    sources: list[Any]
    if kind == "str":
        sources = [str(path) for path in (exam.pet, exam.ct, exam.lesions)]
    elif kind == "nibabel":
        sources = images
    elif kind == "in_memory":
        sources = [nibabel.Nifti1Image(v, a) for v, a in zip(values, affines)]
    elif kind == "arrays":
        sources = list(zip(values, affines))
    elif kind == "c_order":
        sources = [(np.ascontiguousarray(v), a.tolist()) for v, a in zip(values, affines)]
    elif kind == "big_endian":
        sources = [(v.astype(v.dtype.newbyteorder(">")), a) for v, a in zip(values, affines)]
    else:
        sources = list(zip(values, affines, ("suv", "hu", "label")))
    again = model.describe(*sources, label=1, max_tokens=TOKENS)
    assert again.tokens == finding.tokens
    assert again.text == finding.text


def test_becquerels_with_their_factor_are_suv(model: petar.Model, exam: Exam, finding: petar.Finding) -> None:
    image = nibabel.load(exam.pet)
    activity = np.asarray(image.dataobj, np.float64) * 4096
    factor = 1 / 4096
    again = model.describe(
        (activity, image.affine, "bqml"), exam.ct, exam.lesions, suv_factor=factor, label=1, max_tokens=TOKENS
    )
    assert again.tokens == finding.tokens


def test_sampling_follows_its_seed(model: petar.Model, exam: Exam) -> None:
    def sample(seed: int) -> tuple[int, ...]:
        return model.describe(
            exam.pet, exam.ct, exam.lesions, label=1, max_tokens=TOKENS, temperature=5.0, top_p=0.99, seed=seed
        ).tokens

    assert sample(1) == sample(1)
    assert len({sample(seed) for seed in range(4)}) > 1


# ---- Streams and cancelling ----


def test_stream_adds_up_to_the_finding(model: petar.Model, exam: Exam, finding: petar.Finding) -> None:
    pieces: list[str] = []
    ids: list[int] = []
    progress: list[tuple[str, float]] = []
    caller = threading.current_thread()

    def on_token(text: str, token: int) -> None:
        assert threading.current_thread() is caller
        pieces.append(text)
        ids.append(token)

    model.describe(
        exam.pet,
        exam.ct,
        exam.lesions,
        label=1,
        max_tokens=TOKENS,
        on_token=on_token,
        on_progress=lambda stage, fraction: progress.append((stage, fraction)),
    )
    assert "".join(pieces) == finding.text
    assert [token for token in ids if token >= 0] == list(finding.tokens)
    assert list(dict.fromkeys(stage for stage, _ in progress)) == ["prepare", "encode", "prefill", "decode"]


@pytest.mark.parametrize("callback", ["on_token", "on_progress"])
def test_exception_in_a_callback_cancels_and_reaches_the_caller(
    model: petar.Model, exam: Exam, finding: petar.Finding, outcomes: list[Future[Any]], callback: str
) -> None:
    calls = 0

    def refuse(*_: object) -> None:
        nonlocal calls
        calls += 1
        raise LookupError("enough")

    arguments: dict[str, Any] = {callback: refuse}
    with pytest.raises(LookupError, match="enough"):
        model.describe(exam.pet, exam.ct, exam.lesions, label=1, max_tokens=LONG, **arguments)
    assert calls == 1
    assert isinstance(outcomes[0].exception(), petar.Cancelled)
    again = model.describe(exam.pet, exam.ct, exam.lesions, label=1, max_tokens=TOKENS)
    assert again.tokens == finding.tokens


def test_keyboard_interrupt_ends_the_native_call(
    model: petar.Model, exam: Exam, finding: petar.Finding, outcomes: list[Future[Any]]
) -> None:
    started = threading.Event()
    stages: list[str] = []

    def interrupt() -> None:
        started.wait()
        os.kill(os.getpid(), signal.SIGINT)

    def on_progress(stage: str, fraction: float) -> None:
        stages.append(stage)
        started.set()

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        model.describe(exam.pet, exam.ct, exam.lesions, label=1, max_tokens=LONG, on_progress=on_progress)
        time.sleep(10)  # so that a late interrupt does not hit another test
    assert isinstance(outcomes[0].exception(), petar.Cancelled)
    assert stages and not [thread for thread in threading.enumerate() if thread.name == "petar"]
    again = model.describe(exam.pet, exam.ct, exam.lesions, label=1, max_tokens=TOKENS)
    assert again.tokens == finding.tokens


# ---- The same bits ----


def test_two_python_threads_at_once(model: petar.Model, exam: Exam, finding: petar.Finding) -> None:
    def describe(_: int) -> tuple[int, ...]:
        return model.describe(exam.pet, exam.ct, exam.lesions, label=1, max_tokens=TOKENS, threads=1).tokens

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(describe, range(4))) == [finding.tokens] * 4


def test_other_python_threads_run_meanwhile(model: petar.Model, exam: Exam) -> None:
    # This thread ends the call, which without callbacks runs no Python at all: so it has let go of the GIL.
    request = _describe.Request(None, LONG, 0.0, 1.0, 0, None, None)
    lesion = petar.Exam(exam.pet, exam.ct, exam.lesions, label=1)
    with model._session(1) as session, ThreadPoolExecutor(1) as pool:
        call = pool.submit(_describe.describe, session, lesion, request)
        while not call.done():
            _abi.library().petar_session_cancel(session)
    assert isinstance(call.exception(), petar.Cancelled)


@pytest.mark.parametrize("weights", ["f32", "q8"])
def test_thread_count_does_not_change_a_bit(models_dir: Path, exam: Exam, weights: str) -> None:
    results = set()
    with petar.Model(models_dir / f"phi3-two-{weights}.petar") as model:
        for threads in (1, 2, 3, 7):
            vision = model.encode(exam.pet, exam.ct, exam.lesions, label=1, threads=threads)
            logits = model.logits(model.prompt(), vision, last=3, threads=threads)
            results.add((vision.tobytes(), logits.tobytes()))
    assert len(results) == 1


@pytest.mark.parametrize("weights", ["f32", "q8"])
def test_instruction_set_does_not_change_a_bit(models_dir: Path, exam: Exam, weights: str) -> None:
    # The smallest model: scalar code is slow.
    path = models_dir / f"small-views-{weights}.petar"
    results = {}
    for isa in petar.build_info()["instruction_sets"]:
        with petar.Model(path, isa=isa) as model:
            vision = model.encode(exam.pet, exam.ct, exam.lesions, label=1)
            logits = model.logits(model.prompt(), vision, last=4)
            results[isa] = (vision.tobytes(), logits.tobytes())
    assert "scalar" in results
    assert len(set(results.values())) == 1, f"{list(results)} differ"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the flags of an x86-64 processor")
def test_instruction_sets_are_those_of_the_processor() -> None:
    flags = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")).split()
    avx2 = {"avx2", "fma", "f16c"}
    needed = {
        "avx2": avx2,
        "avxvnni": avx2 | {"avx_vnni"},
        "avx512vnni": avx2 | {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"},
        "scalar": set(),
    }
    # For amx, Linux has to agree as well.
    found = [name for name in petar.build_info()["instruction_sets"] if name != "amx"]
    assert set(found) == {name for name, flag in needed.items() if flag <= set(flags)}


# ---- Step by step ----


def test_prepare_gives_the_six_arrays(model: petar.Model, exam: Exam) -> None:
    views = model.prepare(exam.pet, exam.ct, exam.lesions, label=1)
    for name in ("pet", "mask", "ct", "pet_focal", "mask_focal", "ct_focal"):
        array = views[name]
        assert array.shape == model.info.view_shape and array.dtype == np.float32
        assert array.min() >= 0 and array.max() <= 1
    assert set(np.unique(views["mask"])) == {0, 1}
    # The focal view is closer to the lesion.
    assert views["mask_focal"].mean() > views["mask"].mean() > 0
    assert views["geometry"]


def test_shapes_of_vision_tokens_and_logits(model: petar.Model, vision: Any) -> None:
    info = model.info
    assert vision.shape == (info.vision_tokens, info.hidden_size)
    logits = model.logits(model.prompt(), vision, last=2)
    assert logits.shape == (2, info.vocabulary_size)
    assert np.isfinite(vision).all() and np.isfinite(logits).all()


def test_greedy_decoding_takes_the_largest_logit(model: petar.Model, vision: Any, finding: petar.Finding) -> None:
    ids = model.prompt() + list(finding.tokens[:-1])
    logits = model.logits(ids, vision, last=len(finding.tokens))
    assert tuple(np.argmax(logits, axis=1)) == finding.tokens


@pytest.mark.parametrize("text", ["", "a lesion", "two  spaces ", "SUVmax 5.2\nnext", "Läsion 病変 \U0001f9e0", "</s>"])
def test_text_survives_the_tokenizer(model: petar.Model, text: str) -> None:
    ids = model.tokenize(text)
    assert model.tokenize(text, add_bos=False) == ids[1:]
    assert model.detokenize(ids, keep_special=text == "</s>").endswith(text)


def test_refused_arguments(model: petar.Model, exam: Exam) -> None:
    with pytest.raises(ValueError, match="NUL"):
        model.tokenize("a\0b")
    with pytest.raises(petar.BadText):
        model.detokenize([model.info.vocabulary_size])
    with pytest.raises(petar.BadText):
        model.logits([-1])
    with pytest.raises(petar.InvalidArgument):
        model.logits(model.prompt())  # image tokens without their vision rows
    with pytest.raises(petar.ContextFull):
        model.logits([1] * (model.info.context_size + 1))
    with pytest.raises(petar.InvalidArgument):
        model.describe(exam.pet, exam.ct, exam.lesions, max_tokens=-1)
    for last in (0, 4):
        with pytest.raises(ValueError, match=f"last is {last}, but there are 3 positions"):
            model.logits([1, 2, 3], last=last)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("label", 2**32 + 3),
        ("max_tokens", 2**32 + 1),
        ("threads", 2**32 + 1),
        ("threads", -(2**32) + 1),
        ("seed", 2**64),
        ("seed", -1),
    ],
)
def test_integers_that_do_not_fit_are_not_cut_to_size(model: petar.Model, exam: Exam, name: str, value: int) -> None:
    arguments: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        model.describe(exam.pet, exam.ct, exam.lesions, **arguments)


def test_token_ids_that_do_not_fit_are_not_cut_to_size(model: petar.Model) -> None:
    good: Any = np.array([5], np.int64)
    assert model.detokenize(good) == model.detokenize([5])
    bad: list[Any] = [[2**32 + 5], np.array([2**32 + 5]), [5.5]]
    for ids in bad:
        with pytest.raises(ValueError, match="ids"):
            model.detokenize(ids)
        with pytest.raises(ValueError, match="ids"):
            model.logits(ids)


def test_unknown_instruction_set_is_refused(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(petar.Unsupported, match="imaginary"):
        petar.Model(model_path, isa="imaginary")
    monkeypatch.setenv("PETAR_ISA", "imaginary")
    with pytest.raises(petar.Unsupported, match=r"PETAR_ISA .*imaginary.* scalar"):
        petar.Model(model_path)
    petar.Model(model_path, isa="scalar").close()


def test_path_with_a_nul_is_not_cut_there(model_path: Path) -> None:
    with pytest.raises(ValueError, match="NUL"):
        petar.Model(f"{model_path}\0.old")


def test_closed_model_says_so(model_path: Path, exam: Exam) -> None:
    model = petar.Model(model_path, verify=True)
    assert model.metadata["name"]
    model.close()
    model.close()
    with pytest.raises(ValueError, match="closed"):
        model.describe(exam.pet, exam.ct, exam.lesions)
