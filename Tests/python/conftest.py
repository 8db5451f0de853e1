"""Where the tests find what `make test` has built; each path is an environment variable the Makefile sets."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import petar
import pytest
from reference import checkpoint

# A shell starts what runs in the background with SIGINT ignored, and Python then leaves it so.
signal.signal(signal.SIGINT, signal.default_int_handler)


def _built(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value or not Path(value).exists():
        pytest.fail(f"{variable} does not name an existing path; run `make test`")
    return Path(value)


@dataclass(frozen=True)
class Exam:
    """Paths of a PET/CT exam with a label map of lesions."""

    pet: Path
    ct: Path
    lesions: Path


def refuses(
    call: Callable[[], object], error: type[petar.PetarError] | tuple[type[petar.PetarError], ...], *words: str
) -> None:
    """The call fails with that exception, and its message holds one of the words."""
    with pytest.raises(error) as caught:
        call()
    message = caught.value.message
    assert any(word.lower() in message.lower() for word in words), f"none of {words} in: {message}"
    assert len(message) > 20, f"not a sentence: {message}"


@pytest.fixture(scope="session")
def root() -> Path:
    return Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def library_path() -> Path:
    return _built("PETAR_LIBRARY")


@pytest.fixture(scope="session")
def bin_dir() -> Path:
    return _built("PETAR_BIN_DIR")


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """A folder of <name>-<weights>.petar, one for each checkpoint that Tests/Fixtures/make_models.py describes."""
    return _built("PETAR_TEST_MODELS")


SMALL_SPEC = checkpoint.ModelSpec(
    seed=3, family="phi3", image=(4, 8, 8), patch=(2, 4, 4), vision_width=64, vision_layers=1, vision_mlp=16
)


@pytest.fixture
def small_checkpoint(root: Path, tmp_path: Path) -> Path:
    """A checkpoint folder that a test may change: as small as they can be."""
    folder = tmp_path / "checkpoint"
    checkpoint.write_checkpoint(SMALL_SPEC, folder, root / "Tests" / "Fixtures" / "tokenizer" / "tiny")
    return folder


@pytest.fixture(scope="session")
def model_path() -> Path:
    return _built("PETAR_TEST_MODEL")


@pytest.fixture(scope="session")
def model(model_path: Path) -> Iterator[petar.Model]:
    with petar.Model(model_path) as opened:
        yield opened


@pytest.fixture(scope="session")
def exam() -> Exam:
    folder = _built("PETAR_TEST_EXAM")
    return Exam(folder / "pet.nii.gz", folder / "ct.nii.gz", folder / "lesions.nii.gz")
