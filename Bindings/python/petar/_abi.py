"""Include/petar.h for ctypes: the same structs, enums and functions, tested against the header, and nothing else."""

from __future__ import annotations

import ctypes as c
import functools
import os
from enum import IntEnum
from pathlib import Path
from typing import Any

# ---- Enums ----------------------------------------------------------------------------------------------------------


class Status(IntEnum):
    """``petar_status``: why a call failed."""

    OK = 0
    INVALID_ARGUMENT = 10
    BUSY = 11
    UNSUPPORTED = 12
    BUFFER_TOO_SMALL = 13
    CANCELLED = 20
    OUT_OF_MEMORY = 30
    IO = 40
    BAD_FILE = 41
    CHECKSUM = 42
    FILE_VERSION = 43
    BAD_VOLUME = 50
    BAD_GEOMETRY = 51
    BAD_UNIT = 52
    EMPTY_MASK = 53
    MASK_OUTSIDE = 54
    BAD_TEXT = 60
    CONTEXT_FULL = 61
    NOT_FINITE = 62
    INTERNAL = 90


class DataType(IntEnum):
    """``petar_data_type``: how voxels are stored."""

    UINT8 = 1
    INT8 = 2
    INT16 = 3
    UINT16 = 4
    INT32 = 5
    UINT32 = 6
    FLOAT32 = 7
    FLOAT64 = 8


class Unit(IntEnum):
    """``petar_unit``: what voxels mean."""

    SUV = 1
    BQML = 2
    HU = 3
    LABEL = 4


class CTOutside(IntEnum):
    """``petar_ct_outside``: what CT is taken to be outside its field of view."""

    RELEASED = 0
    AIR = 1


class ViewArray(IntEnum):
    """``petar_view_array``: one of the six arrays the network sees."""

    PET = 0
    MASK = 1
    CT = 2
    PET_FOCAL = 3
    MASK_FOCAL = 4
    CT_FOCAL = 5


# ---- Callbacks ------------------------------------------------------------------------------------------------------

# A `const char *` that a callback gets is taken as an address: text may hold NUL, its length says where it ends.
TokenFn = c.CFUNCTYPE(None, c.c_void_p, c.c_void_p, c.c_size_t, c.c_int32)
ProgressFn = c.CFUNCTYPE(None, c.c_void_p, c.c_char_p, c.c_double)
LogFn = c.CFUNCTYPE(None, c.c_void_p, c.c_int32, c.c_char_p)
TaskFn = c.CFUNCTYPE(None, c.c_void_p, c.c_size_t)
ParallelFn = c.CFUNCTYPE(None, c.c_void_p, c.c_void_p, TaskFn, c.c_size_t)
FindingFn = c.CFUNCTYPE(None, c.c_void_p, c.c_size_t, c.c_int, c.c_char_p, c.c_void_p)

# ---- Structs --------------------------------------------------------------------------------------------------------


class ModelParams(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t),
        ("isa", c.c_char_p),
        ("verify", c.c_int32),
        ("log", LogFn),
        ("log_user_data", c.c_void_p),
    ]


class ModelInfo(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t),
        ("view_shape", c.c_int64 * 3),
        ("vision_tokens", c.c_int64),
        ("hidden_size", c.c_int64),
        ("vocabulary_size", c.c_int64),
        ("context_size", c.c_int64),
        ("parameter_count", c.c_int64),
    ]


class VolumeParams(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t),
        ("voxels", c.c_void_p),
        ("voxels_size", c.c_size_t),
        ("data_type", c.c_int32),
        ("shape", c.c_int64 * 3),
        ("affine", c.c_double * 16),
        ("unit", c.c_int32),
        ("suv_factor", c.c_double),
        ("slope", c.c_double),
        ("intercept", c.c_double),
    ]


class SessionParams(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t),
        ("threads", c.c_int32),
        ("parallel", ParallelFn),
        ("parallel_user_data", c.c_void_p),
        ("log", LogFn),
        ("log_user_data", c.c_void_p),
    ]


class Exam(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t),
        ("pet", c.c_void_p),
        ("ct", c.c_void_p),
        ("mask", c.c_void_p),
        ("label", c.c_int32),
        ("ct_outside", c.c_int32),
    ]


class DescribeParams(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t),
        ("question", c.c_char_p),
        ("max_tokens", c.c_int32),
        ("temperature", c.c_float),
        ("top_p", c.c_float),
        ("seed", c.c_uint64),
        ("on_token", TokenFn),
        ("on_progress", ProgressFn),
        ("user_data", c.c_void_p),
    ]


class BatchParams(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t),
        ("width", c.c_int32),
        ("on_finding", FindingFn),
        ("user_data", c.c_void_p),
    ]


# ---- Functions ------------------------------------------------------------------------------------------------------

_status = c.c_int
_handle = c.c_void_p
_out_handle = c.POINTER(c.c_void_p)
_size = c.POINTER(c.c_size_t)
# Buffers go as addresses: NULL (None), a ctypes buffer or `ndarray.ctypes.data`.
_buffer = c.c_void_p

FUNCTIONS: dict[str, tuple[Any, ...]] = {
    # name: (result, arguments ...)
    "petar_status_name": (c.c_char_p, c.c_int),
    "petar_last_message": (c.c_char_p,),
    "petar_version": (c.c_char_p,),
    "petar_build_info": (_status, _buffer, _size),
    "petar_model_params_init": (None, c.POINTER(ModelParams), c.c_size_t),
    "petar_model_open": (_status, c.c_char_p, c.POINTER(ModelParams), _out_handle),
    "petar_model_free": (None, _handle),
    "petar_model_get_info": (_status, _handle, c.POINTER(ModelInfo)),
    "petar_model_metadata": (_status, _handle, _buffer, _size),
    "petar_tokenize": (_status, _handle, c.c_char_p, c.c_int32, _buffer, _size),
    "petar_detokenize": (_status, _handle, _buffer, c.c_size_t, c.c_int32, _buffer, _size),
    "petar_model_prompt": (_status, _handle, c.c_char_p, _buffer, _size),
    "petar_volume_params_init": (None, c.POINTER(VolumeParams), c.c_size_t),
    "petar_volume_create": (_status, c.POINTER(VolumeParams), _out_handle),
    "petar_volume_read": (_status, c.c_char_p, c.c_int32, c.c_double, _out_handle),
    "petar_volume_free": (None, _handle),
    "petar_volume_labels": (_status, _handle, _buffer, _size),
    "petar_session_params_init": (None, c.POINTER(SessionParams), c.c_size_t),
    "petar_session_create": (_status, _handle, c.POINTER(SessionParams), _out_handle),
    "petar_session_free": (None, _handle),
    "petar_session_cancel": (None, _handle),
    "petar_exam_init": (None, c.POINTER(Exam), c.c_size_t),
    "petar_describe_params_init": (None, c.POINTER(DescribeParams), c.c_size_t),
    "petar_describe": (_status, _handle, c.POINTER(Exam), c.POINTER(DescribeParams), _out_handle),
    "petar_finding_free": (None, _handle),
    "petar_finding_text": (_status, _handle, _buffer, _size),
    "petar_finding_tokens": (_status, _handle, _buffer, _size),
    "petar_finding_json": (_status, _handle, _buffer, _size),
    "petar_batch_params_init": (None, c.POINTER(BatchParams), c.c_size_t),
    "petar_describe_batch": (
        _status,
        _handle,
        c.POINTER(Exam),
        c.c_size_t,
        c.POINTER(DescribeParams),
        c.POINTER(BatchParams),
    ),
    "petar_prepare": (_status, _handle, c.POINTER(Exam), _out_handle),
    "petar_views_free": (None, _handle),
    "petar_views_array": (_status, _handle, c.c_int32, _buffer, _size),
    "petar_views_geometry": (_status, _handle, _buffer, _size),
    "petar_encode": (_status, _handle, _handle, _buffer, _size),
    "petar_logits": (_status, _handle, _buffer, c.c_size_t, _buffer, c.c_size_t, c.c_size_t, _buffer, _size),
}

# ---- The library ----------------------------------------------------------------------------------------------------

SONAME = "libpetar.so.0"


@functools.lru_cache(maxsize=None)
def library() -> c.CDLL:
    """Loads libpetar: ``PETAR_LIBRARY`` if set, else the copy in this package, else the system's.

    ``CDLL`` releases the GIL for the length of each call.
    """
    bundled = Path(__file__).with_name(SONAME)
    path = os.environ.get("PETAR_LIBRARY") or (str(bundled) if bundled.exists() else SONAME)
    try:
        loaded = c.CDLL(path)
    except OSError as error:
        raise OSError(
            f"{path} could not be loaded ({error}); build it with `make`, then install this package again, "
            "or set PETAR_LIBRARY to the path of libpetar.so.0"
        ) from error
    for name, (result, *arguments) in FUNCTIONS.items():
        function = getattr(loaded, name)
        function.restype = result
        function.argtypes = arguments
    return loaded
