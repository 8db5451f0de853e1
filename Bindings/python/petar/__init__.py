"""PETAR: describes a lesion on a PET/CT scan, on your own computer. For research use; not a medical device.

>>> import petar
>>> with petar.Model("petar.petar") as model:
...     finding = model.describe("pet.nii.gz", "ct.nii.gz", "lesion.nii.gz")
...     print(finding.text)
"""

from ._abi import Status
from ._errors import (
    BadFile,
    BadGeometry,
    BadText,
    BadUnit,
    BadVolume,
    BufferTooSmall,
    Busy,
    Cancelled,
    ChecksumMismatch,
    ContextFull,
    EmptyMask,
    FileError,
    FileVersion,
    InternalError,
    InvalidArgument,
    MaskOutside,
    NotFinite,
    OutOfMemory,
    PetarError,
    Unsupported,
)
from ._exam import Exam
from ._finding import Finding, ModelInfo, Views
from ._model import Model
from ._native import build_info, version
from ._volumes import VolumeSource

__version__ = "0.1.0"

__all__ = [
    "BadFile",
    "BadGeometry",
    "BadText",
    "BadUnit",
    "BadVolume",
    "BufferTooSmall",
    "Busy",
    "Cancelled",
    "ChecksumMismatch",
    "ContextFull",
    "EmptyMask",
    "Exam",
    "FileError",
    "FileVersion",
    "Finding",
    "InternalError",
    "InvalidArgument",
    "MaskOutside",
    "Model",
    "ModelInfo",
    "NotFinite",
    "OutOfMemory",
    "PetarError",
    "Status",
    "Unsupported",
    "Views",
    "VolumeSource",
    "build_info",
    "version",
]
