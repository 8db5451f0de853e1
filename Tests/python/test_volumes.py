"""What may be given as a volume: types of voxels that NIfTI or the library has no name for, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import petar
import pytest
from conftest import Exam
from numpy.typing import NDArray

Sources = dict[str, tuple[NDArray[Any], NDArray[np.float64]]]


@pytest.fixture(scope="module")
def arrays(exam: Exam) -> Sources:
    """The exam as ``(array, affine)``, in floats."""

    def array(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
        image = nibabel.load(path)
        return np.asarray(image.dataobj, np.float64), image.affine

    return {"pet": array(exam.pet), "ct": array(exam.ct), "mask": array(exam.lesions)}


@pytest.fixture
def prepare(model: petar.Model, arrays: Sources) -> Any:
    def run(**changed: Any) -> petar.Views:
        return model.prepare(**{**arrays, **changed})

    return run


def assert_same(got: petar.Views, expected: petar.Views) -> None:
    for name in ("pet", "mask", "ct", "pet_focal", "mask_focal", "ct_focal"):
        np.testing.assert_array_equal(got[name], expected[name])


# ---- Types of voxels ----


def test_a_mask_of_truth_values(prepare: Any, arrays: Sources) -> None:
    labels, affine = arrays["mask"]
    assert_same(prepare(mask=(labels == 2, affine)), prepare(label=2))


@pytest.mark.parametrize("kind", [np.int64, np.uint64])
def test_labels_of_64_bits(prepare: Any, arrays: Sources, kind: type[Any]) -> None:
    labels, affine = arrays["mask"]
    assert_same(prepare(mask=(labels.astype(kind), affine), label=2), prepare(label=2))


def test_integers_that_need_more_than_32_bits_are_not_cut(prepare: Any, arrays: Sources) -> None:
    suv, affine = arrays["pet"]
    whole = np.round(suv * 2**10).astype(np.int64)
    expected = prepare(pet=(whole / 2**10, affine))
    assert_same(prepare(pet=(whole << 30, affine), pet_unit="bqml", suv_factor=2.0**-40), expected)


def test_floats_of_16_bits(prepare: Any, arrays: Sources) -> None:
    suv, affine = arrays["pet"]
    short = suv.astype(np.float16)
    assert_same(prepare(pet=(short, affine)), prepare(pet=(short.astype(np.float32), affine)))


# ---- Refusals ----


@pytest.mark.parametrize("source", [None, 3, [1, 2], np.zeros((2, 2, 2)), b"pet.nii.gz"])
def test_what_is_no_volume(prepare: Any, source: Any) -> None:
    with pytest.raises(TypeError, match=f"PET: expected a path, a nibabel image or .*not {type(source).__name__}"):
        prepare(pet=source)


@pytest.mark.parametrize("length", [1, 4])
def test_tuples_of_another_length(prepare: Any, arrays: Sources, length: int) -> None:
    with pytest.raises(TypeError, match=r"CT: expected \(array, affine\)"):
        prepare(ct=(*arrays["ct"], "hu", "more")[:length])


def test_unknown_units(prepare: Any, arrays: Sources, exam: Exam) -> None:
    for changed in (
        {"pet_unit": "kBq/mL"},
        {"pet": (*arrays["pet"], "kBq/mL")},
        {"pet": exam.pet, "pet_unit": "kBq/mL"},
    ):
        with pytest.raises(ValueError, match="unit 'kBq/mL' is not one of 'suv', 'bqml', 'hu', 'label'"):
            prepare(**changed)


def test_a_factor_without_becquerels(prepare: Any, exam: Exam) -> None:
    for changed in ({"suv_factor": 0.5}, {"suv_factor": 0.5, "pet": exam.pet}, {"suv_factor": 0.5, "pet_unit": "suv"}):
        with pytest.raises(ValueError, match="suv_factor is for PET in Bq/mL, unit 'bqml', not 'suv'"):
            prepare(**changed)


def test_a_path_with_a_nul_is_not_cut_there(prepare: Any, exam: Exam) -> None:
    with pytest.raises(ValueError, match="NUL"):
        prepare(pet=f"{exam.pet}\0.old")
