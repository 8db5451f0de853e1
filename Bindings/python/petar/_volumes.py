"""What a caller has (path, nibabel image, array) to what the library takes."""

from __future__ import annotations

import ctypes as c
import os
from typing import Any, Optional, Protocol, Union

import numpy as np
from numpy.typing import NDArray

from ._abi import DataType, Status, Unit, VolumeParams, library
from ._errors import error
from ._native import Handle, c_path


class SpatialImage(Protocol):
    """What is used of a nibabel image."""

    @property
    def dataobj(self) -> Any: ...

    @property
    def affine(self) -> Any: ...

    def get_fdata(self) -> Any: ...


#: A NIfTI file, a nibabel image, ``(array, affine)`` or ``(array, affine, unit)``. ``affine`` is 4 x 4, voxel index
#: to millimetres (right, anterior, superior); ``unit`` is "suv", "bqml", "hu" or "label".
VolumeSource = Union[str, "os.PathLike[str]", SpatialImage, tuple[NDArray[Any], Any], tuple[NDArray[Any], Any, str]]

UNITS = {"suv": Unit.SUV, "bqml": Unit.BQML, "hu": Unit.HU, "label": Unit.LABEL}

_DATA_TYPES = {
    "u1": DataType.UINT8,
    "i1": DataType.INT8,
    "i2": DataType.INT16,
    "u2": DataType.UINT16,
    "i4": DataType.INT32,
    "u4": DataType.UINT32,
    "f4": DataType.FLOAT32,
    "f8": DataType.FLOAT64,
}


def load_volume(source: VolumeSource, role: str, unit: str, suv_factor: Optional[float] = None) -> Handle:
    """A native volume. ``role`` names it in messages: "PET", "CT" or "mask"."""
    if isinstance(source, (str, os.PathLike)):
        path, code = c_path(source), _unit(unit, suv_factor)
        return Handle(
            library().petar_volume_free,
            lambda out: int(library().petar_volume_read(path, code, suv_factor or 0.0, out)),
        )
    slope, intercept = 1.0, 0.0
    if isinstance(source, tuple):
        if len(source) not in (2, 3):
            raise TypeError(f"{role}: expected (array, affine) or (array, affine, unit)")
        voxels, affine = np.asanyarray(source[0]), source[1]
        unit = source[2] if len(source) == 3 else unit
    elif hasattr(source, "get_fdata") and hasattr(source, "affine") and hasattr(source, "dataobj"):
        affine = _image_affine(source, role)
        # The stored integers and their scaling, not the floats nibabel makes of them: one rounding less, and the
        # same numbers the library reads from the file.
        if hasattr(source.dataobj, "get_unscaled"):
            voxels = np.asanyarray(source.dataobj.get_unscaled())
            slope, intercept = float(source.dataobj.slope), float(source.dataobj.inter)
        else:
            voxels = np.asanyarray(source.dataobj)
    else:
        raise TypeError(
            f"{role}: expected a path, a nibabel image or (array, affine[, unit]), not {type(source).__name__}"
        )
    return _create(voxels, affine, role, _unit(unit, suv_factor), suv_factor, slope, intercept)


def _unit(name: str, suv_factor: Optional[float]) -> Unit:
    if name not in UNITS:
        raise ValueError(f"unit {name!r} is not one of {', '.join(map(repr, UNITS))}")
    if suv_factor is not None and name != "bqml":
        raise ValueError(f"suv_factor is for PET in Bq/mL, unit 'bqml', not {name!r}")
    return UNITS[name]


def _image_affine(image: SpatialImage, role: str) -> Any:
    header = getattr(image, "header", {})
    codes = [int(header[name]) for name in ("sform_code", "qform_code") if name in header]
    if image.affine is None or (codes and not any(codes)):
        # nibabel makes an affine up for such a file.
        raise error(
            Status.BAD_GEOMETRY,
            f"{role}: the image has neither a sform nor a qform, so nothing says where its voxels lie",
        )
    return image.affine


def _create(
    voxels: NDArray[Any],
    affine: Any,
    role: str,
    unit: Unit,
    suv_factor: Optional[float],
    slope: float,
    intercept: float,
) -> Handle:
    if voxels.ndim == 4 and voxels.shape[3] == 1:
        voxels = voxels[..., 0]
    if voxels.ndim != 3:
        raise error(Status.BAD_VOLUME, f"{role}: the array has shape {voxels.shape}; give one with three axes")
    matrix = np.asarray(affine, np.float64)
    if matrix.shape != (4, 4):
        raise error(Status.BAD_GEOMETRY, f"{role}: the affine has shape {matrix.shape}, not (4, 4)")
    stored = np.asfortranarray(_storable(voxels, role))

    params = VolumeParams()
    library().petar_volume_params_init(c.byref(params), c.sizeof(params))
    params.voxels = stored.ctypes.data
    params.voxels_size = stored.nbytes
    params.data_type = _DATA_TYPES[stored.dtype.str[1:]]
    params.shape[:] = stored.shape
    params.affine[:] = matrix.ravel().tolist()
    params.unit = unit
    if suv_factor is not None:
        params.suv_factor = suv_factor
    params.slope, params.intercept = slope, intercept
    return Handle(library().petar_volume_free, lambda out: int(library().petar_volume_create(c.byref(params), out)))


def _storable(voxels: NDArray[Any], role: str) -> NDArray[Any]:
    """The same numbers in native byte order and one of the types the library stores."""
    kind, size = voxels.dtype.kind, voxels.dtype.itemsize
    if kind == "b":
        return voxels.astype(np.uint8)
    if kind == "f" and size == 2:
        return voxels.astype(np.float32)
    if kind in "iu" and size == 8:
        low, high = (int(voxels.min()), int(voxels.max())) if voxels.size else (0, 0)
        whole = np.iinfo(np.int32)
        return voxels.astype(np.int32 if whole.min <= low and high <= whole.max else np.float64)
    if f"{kind}{size}" not in _DATA_TYPES:
        raise error(Status.BAD_VOLUME, f"{role}: voxels of type {voxels.dtype} are not supported; give real numbers")
    return voxels.astype(voxels.dtype.newbyteorder("="), copy=False)
