"""The three volumes of an exam as the library takes them."""

from __future__ import annotations

import ctypes as c
from typing import Optional

from . import _abi
from ._abi import CTOutside, library
from ._volumes import VolumeSource, load_volume

_CT_OUTSIDE = {"released": CTOutside.RELEASED, "air": CTOutside.AIR}


class Exam:
    """The three volumes of an exam, read."""

    def __init__(
        self,
        pet: VolumeSource,
        ct: VolumeSource,
        mask: VolumeSource,
        ct_outside: str,
        pet_unit: str,
        suv_factor: Optional[float],
    ) -> None:
        if ct_outside not in _CT_OUTSIDE:
            raise ValueError(f"ct_outside is {ct_outside!r}, not one of {', '.join(map(repr, _CT_OUTSIDE))}")
        self.pet = load_volume(pet, "PET", pet_unit, suv_factor)
        self.ct = load_volume(ct, "CT", "hu")
        self.mask = load_volume(mask, "mask", "label")
        self.ct_outside = _CT_OUTSIDE[ct_outside]

    def native(self, label: int) -> _abi.Exam:
        """The struct for the library; valid as long as this object lives."""
        exam = _abi.Exam()
        library().petar_exam_init(c.byref(exam), c.sizeof(exam))
        exam.pet, exam.ct, exam.mask = self.pet.address, self.ct.address, self.mask.address
        exam.label = label
        exam.ct_outside = self.ct_outside
        return exam
