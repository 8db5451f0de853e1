"""An exam on one grid to the six arrays, as the released inference script does it: nilearn, numpy and torch."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import torch
from nilearn.image import resample_img
from torch.nn import functional

NAMES = ("pet", "mask", "ct")
SIDE, HEIGHT, MARGIN, FOCAL_MARGIN = 200, 350, 80, 20
FILL = {"pet": 0.0, "mask": 0.0, "ct": -1000.0}


def last_bright_slice(values: np.ndarray, threshold: float) -> int | None:
    mx, my = values.shape[0] // 2, values.shape[1] // 2
    window = values[max(mx - 50, 0) : mx + 50, max(my - 150, 0) : my + 50]
    bright = np.flatnonzero(window.max(axis=(0, 1)) > threshold)
    return int(bright[-1]) if bright.size else None


def head_offset(pet: np.ndarray, ct: np.ndarray) -> int:
    last = last_bright_slice(pet, 5)
    if last is None:
        last = last_bright_slice(ct, 1000)
    return 0 if last is None else max(pet.shape[2] - last - 1, 0)


def to_frame(values: np.ndarray, fill: float) -> np.ndarray:
    """At most 200 x 200 in the middle and the top 350 slices, padded to 200 x 200, as (z, y, x), y and z flipped."""
    for axis in (0, 1):
        start = max((values.shape[axis] - SIDE) // 2, 0)
        values = np.take(values, range(start, min(start + SIDE, values.shape[axis])), axis=axis)
    values = values[:, :, -HEIGHT:]
    missing = [SIDE - values.shape[0], SIDE - values.shape[1], 0]
    values = np.pad(values, [(m // 2, m - m // 2) for m in missing], constant_values=fill)
    return values[:, ::-1, ::-1].transpose(2, 1, 0)


def bounding_box(values: np.ndarray, margin: int = 0) -> tuple[slice, ...]:
    where = np.argwhere(values > 0)
    low = np.maximum(where.min(axis=0) - margin, 0)
    return tuple(slice(a, b + margin + 1) for a, b in zip(low, where.max(axis=0)))


def resized(values: np.ndarray, shape: list[int], name: str) -> torch.Tensor:
    batched = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None, None]
    if name == "mask":
        return functional.interpolate(batched, size=shape, mode="nearest")[0, 0]
    return functional.interpolate(batched, size=shape, mode="trilinear", align_corners=False)[0, 0]


def six_arrays(folder: Path, label: int, shape: list[int]) -> dict[str, torch.Tensor]:
    """pet, mask, ct and the same with _focal, each of `shape` (depth, height, width)."""
    files = {"pet": "pet", "mask": "lesions", "ct": "ct"}
    images = {name: nibabel.as_closest_canonical(nibabel.load(folder / f"{files[name]}.nii.gz")) for name in NAMES}
    arrays = {name: image.get_fdata(dtype=np.float32) for name, image in images.items()}
    arrays["mask"] = (arrays["mask"] == label).astype(np.float32)
    affine = images["pet"].affine
    if any(not np.allclose(image.affine, affine) for image in images.values()):
        raise ValueError(f"{folder}: the images do not share one grid")
    kept = arrays["pet"].shape[2] - head_offset(arrays["pet"], arrays["ct"])
    for name in NAMES:
        resampled = resample_img(
            nibabel.Nifti1Image(arrays[name][:, :, :kept], affine),
            target_affine=np.diag([3.0, 3.0, 3.0]),
            interpolation="nearest" if name == "mask" else "linear",
            force_resample=True,
            copy_header=True,
        )
        arrays[name] = to_frame(resampled.get_fdata(dtype=np.float32), FILL[name])
    arrays["mask"] = np.clip(arrays["mask"], 0, 1)
    arrays["pet"] = np.clip(arrays["pet"], 0, 12) / 12
    arrays["ct"] = (np.clip(arrays["ct"], -300, 400) + 300) / 700
    slices = np.flatnonzero(arrays["mask"].any(axis=(1, 2)))
    middle = (int(slices[0]) + int(slices[-1])) // 2
    whole = {name: values[max(middle - MARGIN, 0) : middle + MARGIN + 1] for name, values in arrays.items()}
    focal_box = bounding_box(whole["mask"], FOCAL_MARGIN)
    focal = {name: values[focal_box] for name, values in whole.items()}
    views = {}
    for suffix, view in [("", whole), ("_focal", focal)]:
        box = bounding_box(view["pet"])
        views.update({name + suffix: resized(values[box], shape, name) for name, values in view.items()})
    return views
