"""Volumes as they should not be: each is refused with its status and a sentence, through the C interface."""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import petar
import pytest
from conftest import refuses
from numpy.typing import NDArray
from petar import BadGeometry, BadUnit, BadVolume, EmptyMask, MaskOutside

SHAPE = (30, 28, 26)
SPACING = 4.0
LESION = (slice(14, 17), slice(12, 15), slice(11, 14))


def affine(spacing: float = SPACING) -> NDArray[np.float64]:
    return np.diag([spacing, spacing, spacing, 1.0])


def body() -> NDArray[np.float32]:
    """SUV that is above 5 up to the top slice, so that no head crop happens."""
    z = np.linspace(1, 8, SHAPE[2], dtype=np.float32)
    texture = 0.25 * (np.indices(SHAPE).sum(0) % 4)
    suv: NDArray[np.float32] = (z + texture).astype(np.float32)
    return suv


def lesion() -> NDArray[np.uint8]:
    mask = np.zeros(SHAPE, np.uint8)
    mask[LESION] = 1
    return mask


@dataclass(frozen=True)
class Small:
    """A small exam on disk, and a place for variants of it."""

    model: petar.Model
    folder: Path
    pet: Path
    ct: Path
    mask: Path

    def save(self, voxels: NDArray[Any], name: str = "changed.nii", spacing: float = SPACING) -> Path:
        path = self.folder / name
        nibabel.save(nibabel.Nifti1Image(voxels, affine(spacing)), path)
        return path

    def prepare(self, **changed: Any) -> petar.Views:
        return self.model.prepare(**{"pet": self.pet, "ct": self.ct, "mask": self.mask, **changed})


@pytest.fixture
def small(model: petar.Model, tmp_path: Path) -> Small:
    exam = Small(model, tmp_path, tmp_path / "pet.nii", tmp_path / "ct.nii", tmp_path / "mask.nii")
    exam.save(body(), "pet.nii")
    exam.save(np.full(SHAPE, 40, np.int16), "ct.nii")
    exam.save(lesion(), "mask.nii")
    return exam


# ---- Volume files ----


def patched(source: Path, target: Path, *changes: tuple[int, str, Any]) -> Path:
    """A copy of a little-endian NIfTI-1 file with header fields overwritten: (offset, struct format, value)."""
    data = bytearray(source.read_bytes())
    for offset, form, value in changes:
        struct.pack_into("<" + form, data, offset, *(value if isinstance(value, tuple) else (value,)))
    target.write_bytes(data)
    return target


def test_not_nifti(small: Small) -> None:
    path = small.folder / "notes.nii"
    for content in (b"", b"x", b"Patient notes, not an image. " * 100, bytes(1000)):
        path.write_bytes(content)
        refuses(lambda: small.prepare(pet=path), BadVolume, "NIfTI", "empty", "truncated")


def test_message_names_the_file(small: Small) -> None:
    path = small.folder / "somewhere.nii"
    path.write_bytes(bytes(1000))
    refuses(lambda: small.prepare(ct=path), BadVolume, "somewhere.nii")


def test_missing_file_and_folder(small: Small) -> None:
    refuses(lambda: small.prepare(pet=small.folder / "absent.nii"), petar.FileError, "absent.nii")
    refuses(lambda: small.prepare(pet=small.folder), (petar.FileError, BadVolume), small.folder.name)


def test_truncated_gzip(small: Small) -> None:
    whole = gzip.compress(small.pet.read_bytes())
    path = small.folder / "cut.nii.gz"
    for length in (5, 12, 400, len(whole) // 2, len(whole) - 9, len(whole) - 1):
        path.write_bytes(whole[:length])
        refuses(lambda: small.prepare(pet=path), BadVolume, "truncated", "gzip", "ends", "damaged")


def test_damaged_gzip(small: Small) -> None:
    whole = bytearray(gzip.compress(small.pet.read_bytes()))
    whole[len(whole) // 2] ^= 0xFF
    path = small.folder / "damaged.nii.gz"
    path.write_bytes(whole)
    refuses(lambda: small.prepare(pet=path), BadVolume, "gzip", "damaged", "checksum", "compressed")


def test_truncated_voxels(small: Small) -> None:
    whole = small.pet.read_bytes()
    path = small.folder / "cut.nii"
    for length in (4, 100, 347, 348, 352, 1000, len(whole) - 1):
        path.write_bytes(whole[:length])
        refuses(lambda: small.prepare(pet=path), BadVolume, "truncated", "ends", "too short", "NIfTI")


def big_endian(data: bytes) -> bytes:
    image = nibabel.Nifti1Image.from_bytes(data)
    header = image.header.as_byteswapped(">")
    swapped = nibabel.Nifti1Image(np.asarray(image.dataobj).astype(">f4"), None, header)
    return bytes(swapped.to_bytes())


@pytest.mark.parametrize(
    "name",
    ["two.nii", "gzip.nii.gz", "two_gzip.nii.gz", "swapped.nii", "frame.nii", "pair.img", "pair.hdr", "qform.nii"],
)
def test_every_good_form_gives_the_same_arrays(small: Small, name: str) -> None:
    path = small.folder / name
    if name.startswith("two"):
        nibabel.save(nibabel.Nifti2Image(body(), affine()), path)
    elif name == "swapped.nii":
        path.write_bytes(big_endian(small.pet.read_bytes()))
        assert struct.unpack_from(">i", path.read_bytes())[0] == 348
    elif name == "frame.nii":
        small.save(body()[..., None], name)
    elif name.startswith("pair"):
        nibabel.save(nibabel.Nifti1Pair(body(), affine()), small.folder / "pair.img")
    elif name == "qform.nii":
        image = nibabel.Nifti1Image(body(), None)
        image.set_qform(affine(), code=1)
        image.set_sform(None, code=0)
        nibabel.save(image, path)
    else:
        path.write_bytes(gzip.compress(small.pet.read_bytes()))
    expected, got = small.prepare(), small.prepare(pet=path)
    for array in ("pet", "mask", "ct", "pet_focal", "mask_focal", "ct_focal"):
        # A qform goes through a quaternion in float32.
        np.testing.assert_allclose(got[array], expected[array], atol=1e-4 if "qform" in name else 0)


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"])
def test_every_voxel_type_is_read(small: Small, kind: str) -> None:
    whole = np.floor(body())
    expected = small.prepare(pet=small.save(whole.astype(np.float32), "expected.nii"))
    got = small.prepare(pet=small.save(whole.astype(kind), "typed.nii"))
    np.testing.assert_array_equal(got["pet"], expected["pet"])


def test_several_frames(small: Small) -> None:
    path = small.save(np.stack([body(), body()], axis=3), "frames.nii")
    refuses(lambda: small.prepare(pet=path), BadVolume, "frame", "4-D", "dimension")
    refuses(lambda: small.prepare(pet=nibabel.load(path)), BadVolume, "axes")


def test_complex_and_rgb_voxels(small: Small) -> None:
    path = small.save(body().astype(np.complex64), "complex.nii")
    refuses(lambda: small.prepare(pet=path), BadVolume, "complex", "type")
    rgb = np.zeros(SHAPE, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    refuses(lambda: small.prepare(pet=small.save(rgb, "rgb.nii")), BadVolume, "RGB", "type")
    refuses(lambda: small.prepare(pet=(rgb, affine())), BadVolume, "type")
    for code in (0, 1, 3, 128, 1536, 9999, -1):
        changed = patched(small.pet, small.folder / "code.nii", (70, "h", code))
        refuses(partial(small.prepare, pet=changed), BadVolume, "type")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("role", ["pet", "ct", "mask"])
def test_voxels_that_are_no_numbers(small: Small, value: float, role: str) -> None:
    voxels = body()
    voxels[3, 4, 5] = value
    refuses(lambda: small.prepare(**{role: small.save(voxels)}), BadVolume, "NaN", "infinit", "finite")
    refuses(lambda: small.prepare(**{role: (voxels, affine())}), BadVolume, "NaN", "infinit", "finite")


SFORM, QFORM, ROWS = 254, 252, 280


def test_affine_that_is_singular_or_no_number(small: Small) -> None:
    target = small.folder / "affine.nii"
    flat = (4.0, 0, 0, 0, 0, 4.0, 0, 0, 4.0, 4.0, 0, 0)
    refuses(
        lambda: small.prepare(pet=patched(small.pet, target, (ROWS, "12f", flat))), BadGeometry, "singular", "affine"
    )
    refuses(
        lambda: small.prepare(pet=patched(small.pet, target, (ROWS, "12f", (0.0,) * 12))),
        BadGeometry,
        "singular",
        "affine",
    )
    refuses(lambda: small.prepare(pet=patched(small.pet, target, (ROWS, "f", np.nan))), BadGeometry, "finite", "affine")
    refuses(lambda: small.prepare(pet=(body(), np.zeros((4, 4)))), BadGeometry, "singular", "affine")
    refuses(lambda: small.prepare(pet=(body(), np.eye(3))), BadGeometry, "affine")


def test_no_affine(small: Small) -> None:
    path = patched(small.pet, small.folder / "nowhere.nii", (SFORM, "h", 0), (QFORM, "h", 0))
    refuses(lambda: small.prepare(pet=path), BadGeometry, "sform", "qform", "affine")
    refuses(lambda: small.prepare(pet=nibabel.load(path)), BadGeometry, "sform")


DIMENSIONS = 40


@pytest.mark.parametrize("sides", [(0, 28, 26), (30, 0, 26), (30, 28, 0), (-1, 28, 26), (30, -32768, 26)])
def test_sides_that_are_not_positive(small: Small, sides: tuple[int, int, int]) -> None:
    path = patched(small.pet, small.folder / "sides.nii", (DIMENSIONS, "4h", (3, *sides)))
    refuses(lambda: small.prepare(pet=path), BadVolume, "dimension", "size", "shape", "extent", "axis")


@pytest.mark.parametrize("count", [-1, 0, 1, 2, 5, 7, 8, 1000])
def test_number_of_axes(small: Small, count: int) -> None:
    changes = (DIMENSIONS, "8h", (count, *SHAPE, 2, 2, 2, 2))
    path = patched(small.pet, small.folder / "axes.nii", changes)
    refuses(lambda: small.prepare(pet=path), BadVolume, "dimension", "axes", "axis", "3-D", "frame", "NIfTI")


def test_absurd_sides_in_a_tiny_file(small: Small) -> None:
    words = ("large", "truncated", "too", "limit", "more than")
    path = patched(small.pet, small.folder / "huge.nii", (DIMENSIONS, "4h", (3, 32767, 32767, 32767)))
    refuses(lambda: small.prepare(pet=path), BadVolume, *words)
    zipped = small.folder / "huge.nii.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    refuses(lambda: small.prepare(pet=zipped), BadVolume, *words)
    two = small.folder / "huge2.nii"
    nibabel.save(nibabel.Nifti2Image(body(), affine()), two)
    data = bytearray(two.read_bytes())
    struct.pack_into("<4q", data, 16, 3, 1 << 62, 1 << 62, 1 << 62)
    two.write_bytes(data)
    refuses(lambda: small.prepare(pet=two), BadVolume, *words, "dimension")


def test_voxel_offset_outside_the_file(small: Small) -> None:
    for offset in (-1.0, 1e30, np.nan, np.inf, 1e9):
        path = patched(small.pet, small.folder / "offset.nii", (108, "f", offset))
        refuses(partial(small.prepare, pet=path), BadVolume, "offset", "truncated", "position", "voxel")


def test_header_without_its_image(small: Small) -> None:
    nibabel.save(nibabel.Nifti1Pair(body(), affine()), small.folder / "alone.img")
    (small.folder / "alone.img").unlink()
    refuses(lambda: small.prepare(pet=small.folder / "alone.hdr"), (petar.FileError, BadVolume), "alone")


# ---- PET, CT and mask together ----


def test_empty_mask(small: Small) -> None:
    path = small.save(np.zeros(SHAPE, np.uint8))
    refuses(lambda: small.prepare(mask=path), EmptyMask, "mask", "lesion")
    refuses(lambda: small.prepare(label=2), EmptyMask, "2")
    with pytest.raises(EmptyMask):
        next(small.model.describe_each_label(small.pet, small.ct, path))


def test_mask_outside_the_pet(small: Small) -> None:
    matrix = affine()
    matrix[:3, 3] = 1000
    refuses(lambda: small.prepare(mask=(lesion(), matrix)), MaskOutside, "outside", "field of view")


def test_mask_lost_by_the_head_crop(small: Small) -> None:
    # Nothing above SUV 5 higher than slice 12: the slices over it are dropped, and the lesion with them.
    pet = np.ones(SHAPE, np.float32)
    pet[:, :, :13] = 8
    mask = np.zeros(SHAPE, np.uint8)
    mask[14:16, 12:14, 22:25] = 1
    refuses(lambda: small.prepare(pet=(pet, affine()), mask=(mask, affine())), MaskOutside, "crop", "outside", "head")


@pytest.mark.parametrize("offset", range(8))
def test_lesion_of_one_voxel_survives(small: Small, offset: int) -> None:
    # On a grid so fine that nearest-neighbour resampling to 3 mm alone would lose most single voxels.
    voxel = (14 + (offset & 1), 12 + (offset >> 1 & 1), 11 + (offset >> 2))
    mask = np.zeros(SHAPE, np.uint8)
    mask[voxel] = 1
    views = small.prepare(pet=(body(), affine(1.3)), ct=(body(), affine(1.3)), mask=(mask, affine(1.3)))
    assert views["mask"].sum() > 0
    assert views["mask_focal"].sum() > 0


def test_mask_of_ones_is_the_whole_body(small: Small) -> None:
    views = small.prepare(mask=small.save(np.ones(SHAPE, np.uint8)))
    assert views["mask"].mean() > 0.9


def test_mask_that_is_not_whole_numbers(small: Small) -> None:
    path = small.save(lesion().astype(np.float32) * np.float32(0.5))
    refuses(lambda: small.prepare(mask=path), (BadVolume, BadUnit), "whole", "integer")
    assert small.prepare(mask=small.save(lesion().astype(np.float32)))["mask"].sum() > 0


def test_pet_and_ct_that_do_not_overlap(small: Small) -> None:
    matrix = affine()
    matrix[:3, 3] = -5000
    refuses(lambda: small.prepare(ct=(np.zeros(SHAPE, np.int16), matrix)), BadGeometry, "overlap")


def test_pet_in_becquerels_is_never_taken_for_suv(small: Small) -> None:
    activity = small.save(body() * np.float32(4000))
    refuses(lambda: small.prepare(pet=activity), BadUnit, "Bq")
    refuses(lambda: small.prepare(pet=activity, pet_unit="bqml"), (BadUnit, petar.InvalidArgument), "factor")
    views = small.prepare(pet=activity, pet_unit="bqml", suv_factor=1 / 4000)
    np.testing.assert_allclose(views["pet"], small.prepare()["pet"], atol=1e-6)


def test_unit_that_does_not_fit_its_role(small: Small) -> None:
    refuses(lambda: small.prepare(pet=(body(), affine(), "hu")), BadUnit, "PET", "unit")
    refuses(lambda: small.prepare(ct=(body(), affine(), "suv")), BadUnit, "CT", "unit")
    refuses(lambda: small.prepare(mask=(lesion(), affine(), "hu")), BadUnit, "mask", "unit", "label")
