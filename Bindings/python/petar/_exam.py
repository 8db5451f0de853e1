"""The exams that are to be described, and their volumes as the library takes them."""

from __future__ import annotations

import ctypes as c
import os
from dataclasses import dataclass
from typing import Optional, TypedDict

from . import _abi
from ._abi import CTOutside, library
from ._native import Handle, c_integer
from ._volumes import VolumeSource, load_volume

_CT_OUTSIDE = {"released": CTOutside.RELEASED, "air": CTOutside.AIR}


class Reading(TypedDict, total=False):
    """How the volumes of an exam are to be read: what ``Exam`` takes beside them and the label."""

    ct_outside: str
    pet_unit: str
    suv_factor: Optional[float]


@dataclass(frozen=True, eq=False)
class Exam:
    """One lesion of one exam.

    PET, CT and mask may have different grids.
    """

    #: See ``pet_unit``.
    pet: VolumeSource
    #: In HU.
    ct: VolumeSource
    #: Mask or label map.
    mask: VolumeSource
    #: The lesion in a label map; 0: everything that is not background.
    label: int = 0
    #: CT outside its field of view: "released" (0 HU, as the released preprocessing) or "air".
    ct_outside: str = "released"
    #: "suv", or "bqml" with ``suv_factor`` (SUV = value * factor).
    pet_unit: str = "suv"
    suv_factor: Optional[float] = None

    def __post_init__(self) -> None:
        c_integer(self.label, "label")
        if self.ct_outside not in _CT_OUTSIDE:
            raise ValueError(f"ct_outside is {self.ct_outside!r}, not one of {', '.join(map(repr, _CT_OUTSIDE))}")


class Volumes:
    """The volumes of exams, each read once, however many exams it belongs to."""

    def __init__(self) -> None:
        # Each with its source, whose identity is part of the key and must not pass to another object.
        self._loaded: dict[object, tuple[VolumeSource, Handle]] = {}

    def native(self, exam: Exam) -> _abi.Exam:
        """The struct for the library; valid as long as this object lives."""
        native = _abi.Exam()
        library().petar_exam_init(c.byref(native), c.sizeof(native))
        native.pet = self._load(exam.pet, "PET", exam.pet_unit, exam.suv_factor).address
        native.ct = self._load(exam.ct, "CT", "hu").address
        native.mask = self.mask(exam).address
        native.label = exam.label
        native.ct_outside = _CT_OUTSIDE[exam.ct_outside]
        return native

    def mask(self, exam: Exam) -> Handle:
        """The mask of an exam."""
        return self._load(exam.mask, "mask", "label")

    def _load(self, source: VolumeSource, role: str, unit: str, suv_factor: Optional[float] = None) -> Handle:
        key = (_identity(source), unit, suv_factor)
        if key not in self._loaded:
            self._loaded[key] = source, load_volume(source, role, unit, suv_factor)
        return self._loaded[key][1]


def _identity(source: object) -> object:
    """Equal for the same path, image or array."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    if isinstance(source, tuple):
        return tuple(part if isinstance(part, str) else id(part) for part in source)
    return id(source)
