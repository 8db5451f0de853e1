"""Model files as they should not be: each is refused with its status and a sentence, through the C interface.

The layout of the file is told in Sources/Petar/Weights/PetarFile.swift.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import struct
import subprocess
from functools import partial
from pathlib import Path

import petar
import pytest
from conftest import refuses
from petar import BadFile

HEADER, VERSION, SECTIONS = 224, 8, 24


@pytest.fixture(scope="module")
def q8_bytes(model_path: Path) -> bytes:
    return model_path.with_name(f"{model_path.stem.rsplit('-', 1)[0]}-q8.petar").read_bytes()


def with_header(data: bytes, *changes: tuple[int, str, int]) -> bytes:
    """The file with header fields changed and a header checksum that is right."""
    changed = bytearray(data)
    for offset, form, value in changes:
        struct.pack_into("<" + form, changed, offset, value)
    changed[HEADER - 32 : HEADER] = hashlib.sha256(changed[: HEADER - 32]).digest()
    return bytes(changed)


def write(folder: Path, data: bytes) -> Path:
    path = folder / "model.petar"
    path.unlink(missing_ok=True)  # a mapped file must not be changed in place
    path.write_bytes(data)
    return path


def test_model_that_is_not_there(tmp_path: Path) -> None:
    refuses(lambda: petar.Model(tmp_path / "absent.petar"), petar.FileError, "absent.petar")
    refuses(lambda: petar.Model(tmp_path), (petar.FileError, BadFile), tmp_path.name)


def test_model_that_is_empty_or_something_else(tmp_path: Path, q8_bytes: bytes) -> None:
    words = ("not a .petar file", "empty", "truncated")
    for data in (b"", b"PETAR", b"\x89PETAR\r\n", bytes(4096), b"X" + q8_bytes[1:]):
        refuses(partial(petar.Model, write(tmp_path, data)), BadFile, *words)


def test_model_of_a_future_version(tmp_path: Path, q8_bytes: bytes) -> None:
    for version in (0, 2, 0xFFFFFFFF):
        data = with_header(q8_bytes, (VERSION, "I", version))
        refuses(partial(petar.Model, write(tmp_path, data)), petar.FileVersion, str(version))


def test_model_truncated_anywhere(tmp_path: Path, q8_bytes: bytes) -> None:
    places = random.Random(1).sample(range(HEADER, len(q8_bytes)), 60)
    for length in [*range(0, HEADER, 5), *places, len(q8_bytes) - 1]:
        refuses(
            partial(petar.Model, write(tmp_path, q8_bytes[:length])),
            (BadFile, petar.ChecksumMismatch),
            "truncated",
            "not a .petar file",
            "empty",
        )


def every_byte_but_most_of_tensors(data: bytes) -> list[int]:
    """The header, a few places of each page of tensors, and all that follows these."""
    (directory,) = struct.unpack_from("<Q", data, SECTIONS)
    return [*range(HEADER), *range(HEADER, directory, 61), *range(directory, len(data))]


@pytest.fixture
def small_model(small_checkpoint: Path, bin_dir: Path) -> Path:
    path = small_checkpoint / "small.petar"
    command = [str(word) for word in (bin_dir / "petar-convert", small_checkpoint, "-o", path, "--weights", "q8")]
    subprocess.run(command, check=True, capture_output=True)
    return path


def test_small_model_cut_at_every_byte(small_model: Path) -> None:
    # The same file gets shorter: no model is open on it in between.
    for length in reversed(every_byte_but_most_of_tensors(small_model.read_bytes())):
        os.truncate(small_model, length)
        with pytest.raises(BadFile):
            petar.Model(small_model)


def test_small_model_with_every_byte_flipped(small_model: Path) -> None:
    data = small_model.read_bytes()
    petar.Model(small_model, verify=True).close()
    with small_model.open("r+b", buffering=0) as file:
        for place in every_byte_but_most_of_tensors(data):
            os.pwrite(file.fileno(), bytes([data[place] ^ 1 << place % 8]), place)
            with pytest.raises((BadFile, petar.ChecksumMismatch, petar.FileVersion)):
                petar.Model(small_model, verify=True)
            os.pwrite(file.fileno(), data[place : place + 1], place)
    petar.Model(small_model, verify=True).close()


def test_model_with_something_appended(tmp_path: Path, q8_bytes: bytes) -> None:
    refuses(lambda: petar.Model(write(tmp_path, q8_bytes + b"x")), BadFile, "appended", "bytes")


def test_model_with_any_byte_flipped(tmp_path: Path, q8_bytes: bytes) -> None:
    places = random.Random(2).sample(range(HEADER, len(q8_bytes)), 40)
    for place in [*range(0, HEADER, 3), *places]:
        data = bytearray(q8_bytes)
        data[place] ^= 1 << place % 8
        path = write(tmp_path, bytes(data))
        refuses(
            partial(petar.Model, path, verify=True),
            (BadFile, petar.ChecksumMismatch, petar.FileVersion),
            "damaged",
            "checksum",
            "not a .petar file",
            "version",
        )


@pytest.mark.parametrize("section", [0, 1, 2])
@pytest.mark.parametrize("field", [0, 8, 16])
@pytest.mark.parametrize("value", [(1 << 64) - 1, 1 << 63, (1 << 63) - 1, 1 << 40, 0, 1])
def test_model_with_absurd_sections(tmp_path: Path, q8_bytes: bytes, section: int, field: int, value: int) -> None:
    data = with_header(q8_bytes, (SECTIONS + 56 * section + field, "Q", value))
    with pytest.raises((BadFile, petar.ChecksumMismatch, petar.OutOfMemory)):
        petar.Model(write(tmp_path, data))


def test_model_with_overlapping_sections(tmp_path: Path, q8_bytes: bytes) -> None:
    (directory,) = struct.unpack_from("<Q", q8_bytes, SECTIONS)
    data = with_header(q8_bytes, (SECTIONS + 56, "Q", directory))
    refuses(
        lambda: petar.Model(write(tmp_path, data)), (BadFile, petar.ChecksumMismatch), "overlap", "checksum", "damaged"
    )


def test_model_with_absurd_tensor_count(tmp_path: Path, q8_bytes: bytes) -> None:
    for count in (0, 0xFFFFFFFF):
        data = with_header(q8_bytes, (12, "I", count))
        refuses(partial(petar.Model, write(tmp_path, data)), BadFile, "tensor", "directory", "damaged")


def test_good_copy_is_accepted(tmp_path: Path, model_path: Path) -> None:
    copy = tmp_path / "copy.petar"
    shutil.copy(model_path, copy)
    with petar.Model(copy, verify=True) as model:
        assert model.metadata["hash"]
