"""Statuses as exceptions."""

from __future__ import annotations

from typing import ClassVar, Optional

from ._abi import Status, library


class PetarError(Exception):
    """A call of the library failed; ``message`` says what was wrong, where, and what to do about it."""

    by_status: ClassVar[dict[int, type[PetarError]]] = {}

    def __init_subclass__(cls, *, status: Optional[Status] = None) -> None:
        if status is not None:
            PetarError.by_status[status] = cls

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message

    def __str__(self) -> str:
        return self.message


class InvalidArgument(PetarError, status=Status.INVALID_ARGUMENT):
    """An argument is out of range."""


class Busy(PetarError, status=Status.BUSY):
    """The session is already in a call."""


class Unsupported(PetarError, status=Status.UNSUPPORTED):
    """Valid, but this library cannot do it."""


class BufferTooSmall(PetarError, status=Status.BUFFER_TOO_SMALL):
    """A buffer is smaller than what goes into it."""


class Cancelled(PetarError, status=Status.CANCELLED):
    """The call was cancelled."""


class OutOfMemory(PetarError, status=Status.OUT_OF_MEMORY):
    """Memory could not be allocated."""


class FileError(PetarError, status=Status.IO):
    """A file cannot be opened or read."""


class BadFile(PetarError, status=Status.BAD_FILE):
    """Not a .petar file, truncated, or inconsistent."""


class ChecksumMismatch(PetarError, status=Status.CHECKSUM):
    """The content of a .petar file does not match its checksums."""


class FileVersion(PetarError, status=Status.FILE_VERSION):
    """A .petar file of a format version this library does not know."""


class BadVolume(PetarError, status=Status.BAD_VOLUME):
    """Not NIfTI, truncated, wrong voxel type, NaN, too large, or not 3-D."""


class BadGeometry(PetarError, status=Status.BAD_GEOMETRY):
    """No or a singular affine, or PET and CT that do not overlap."""


class BadUnit(PetarError, status=Status.BAD_UNIT):
    """PET that is not SUV, or a unit that does not fit the role of the volume."""


class EmptyMask(PetarError, status=Status.EMPTY_MASK):
    """No voxel of the lesion in the mask."""


class MaskOutside(PetarError, status=Status.MASK_OUTSIDE):
    """The lesion lies outside the PET field of view or the model's view."""


class BadText(PetarError, status=Status.BAD_TEXT):
    """Invalid UTF-8, or a token id outside the vocabulary."""


class ContextFull(PetarError, status=Status.CONTEXT_FULL):
    """Prompt and answer do not fit the model's context."""


class NotFinite(PetarError, status=Status.NOT_FINITE):
    """The network produced NaN or infinity: the model file is damaged."""


class InternalError(PetarError, status=Status.INTERNAL):
    """A defect of the library."""


def error(status: int, message: str) -> PetarError:
    """The exception of a status."""
    return PetarError.by_status.get(status, PetarError)(status, message)


def check(status: int) -> None:
    """Raises the exception of a status that is not OK, with what the library said on this thread."""
    if status != Status.OK:
        raise error(status, library().petar_last_message().decode("utf-8", "replace"))
