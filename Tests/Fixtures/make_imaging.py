"""Makes the exams and reference arrays in Tests/Fixtures/imaging.

The reference is written from the description of the released preprocessing with nibabel, nilearn and torch, and
shares no code with the library. Run it with a Python that has these three:

    python Tests/Fixtures/make_imaging.py

Each exam is a folder with pet.nii.gz, ct.nii.gz, mask.nii.gz and reference.bin. The latter is zlib-packed,
little-endian: for each of the six arrays the count of samples (u32), their positions (u32), their values (f32), and the
mean of every slice (f64). Mask arrays come as packed bits, most significant first, instead of samples and means. In
front stand depth, height and width (u32).

The folder nifti holds one small image written by nibabel in many ways, and expected.txt: file name and affine (12
numbers) as nibabel reads it.
"""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from nilearn.image import resample_img, resample_to_img
from numpy.typing import NDArray

OUT = Path(__file__).parent / "imaging"
SAMPLES = 8000

Array = NDArray[np.float32]


# ---- The released pipeline -------------------------------------------------------------------------------------


def head_offset(pet: NDArray, ct: NDArray) -> int:
    nx, ny, nz = pet.shape
    mx, my = nx // 2, ny // 2
    window = (slice(max(mx - 50, 0), mx + 50), slice(max(my - 150, 0), my + 50))
    for image, threshold in ((pet, 5.0), (ct, 1000.0)):
        above = np.flatnonzero(image[window].max(axis=(0, 1)) > threshold)
        if len(above):
            return max(nz - int(above[-1]) - 1, 0)
    return 0


def to_canvas(data: NDArray, padding: float) -> NDArray:
    nx, ny, nz = data.shape
    x0, y0 = max((nx - 200) // 2, 0), max((ny - 200) // 2, 0)
    data = data[x0 : x0 + 200, y0 : y0 + 200, max(nz - 350, 0) :]
    px, py = 200 - data.shape[0], 200 - data.shape[1]
    data = np.pad(data, ((px // 2, px - px // 2), (py // 2, py - py // 2), (0, 0)), constant_values=padding)
    return data[:, ::-1, ::-1].transpose(2, 1, 0)


def window(data: NDArray, low: float, high: float) -> Array:
    return ((np.clip(data, low, high) - low) / (high - low)).astype(np.float32)


def resize(data: NDArray, extent: tuple[int, int, int], mode: str) -> Array:
    tensor = torch.from_numpy(np.ascontiguousarray(data, dtype=np.float32))[None, None]
    options = {"align_corners": False} if mode == "trilinear" else {}
    return torch.nn.functional.interpolate(tensor, size=extent, mode=mode, **options)[0, 0].numpy()


def view(pet: Array, mask: Array, ct: Array, extent: tuple[int, int, int]) -> tuple[Array, Array, Array]:
    inside = np.argwhere(pet > 0)
    box = tuple(slice(a, b + 1) for a, b in zip(inside.min(axis=0), inside.max(axis=0)))
    return (
        resize(pet[box], extent, "trilinear"),
        resize(mask[box], extent, "nearest"),
        resize(ct[box], extent, "trilinear"),
    )


def as_float(image: nib.Nifti1Image) -> nib.Nifti1Image:
    image = nib.as_closest_canonical(image)
    return nib.Nifti1Image(image.get_fdata(dtype=np.float64), image.affine)


def six_arrays(
    pet: nib.Nifti1Image,
    ct: nib.Nifti1Image,
    mask: nib.Nifti1Image,
    extent: tuple[int, int, int] = (32, 256, 256),
    outside: float = 0.0,
) -> list[Array]:
    """The six arrays of an exam whose images may have different grids."""
    pet, ct, mask = as_float(pet), as_float(ct), as_float(mask)
    if ct.shape != pet.shape or not np.allclose(ct.affine, pet.affine, atol=1e-4):
        ct = resample_to_img(ct, pet, interpolation="linear", fill_value=outside)
    if mask.shape != pet.shape or not np.allclose(mask.affine, pet.affine, atol=1e-4):
        mask = resample_to_img(mask, pet, interpolation="nearest", fill_value=0)
    keep = pet.shape[2] - head_offset(pet.get_fdata(), ct.get_fdata())

    def model_grid(image: nib.Nifti1Image, how: str, fill: float) -> NDArray:
        cropped = nib.Nifti1Image(image.get_fdata()[:, :, :keep], pet.affine)
        result = resample_img(
            cropped, target_affine=np.diag((3.0, 3.0, 3.0)), interpolation=how, fill_value=fill, clip=fill == 0
        )
        return result.get_fdata()

    p = window(to_canvas(model_grid(pet, "linear", 0), 0), 0, 12)
    c = window(to_canvas(model_grid(ct, "linear", outside), -1000), -300, 400)
    m = np.clip(to_canvas(model_grid(mask, "nearest", 0), 0), 0, 1).astype(np.float32)

    z = np.flatnonzero(m.any(axis=(1, 2)))
    middle = (int(z[0]) + int(z[-1])) // 2
    around = slice(max(middle - 80, 0), middle + 81)
    p, c, m = p[around], c[around], m[around]
    inside = np.argwhere(m > 0)
    focal = tuple(slice(max(int(a) - 20, 0), int(b) + 21) for a, b in zip(inside.min(axis=0), inside.max(axis=0)))
    return [*view(p, m, c, extent), *view(p[focal], m[focal], c[focal], extent)]


# ---- Phantoms --------------------------------------------------------------------------------------------------


@dataclass
class Spec:
    """How the images of one exam are stored."""

    shape: tuple[int, int, int]
    affine: NDArray
    ct_shape: tuple[int, int, int] | None = None
    ct_affine: NDArray | None = None
    axes: str = "RAS"
    pet_type: str = "float32"
    mask_type: str = "uint8"
    extent: tuple[int, int, int] = (32, 256, 256)
    outside: float = 0.0
    lesion: tuple[float, float, float, float] = (0.12, -0.1, 0.1, 14.0)
    # Uptake up to the edges of the image, where the last bit of a coordinate decides on inside and outside.
    edge_to_edge: bool = False


def grid(spacing: tuple[float, float, float], origin: tuple[float, float, float]) -> NDArray:
    affine = np.diag((*spacing, 1.0))
    affine[:3, 3] = origin
    return affine.astype(np.float32).astype(np.float64)


def millimetres(shape: tuple[int, int, int], affine: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    points = index @ affine[:3, :3].T + affine[:3, 3]
    return points[..., 0], points[..., 1], points[..., 2]


def centre_and_size(spec: Spec) -> tuple[NDArray, NDArray]:
    ends = np.array([(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * (np.array(spec.shape) - 1)
    points = ends @ spec.affine[:3, :3].T + spec.affine[:3, 3]
    return points.mean(axis=0), np.ptp(points, axis=0)


def store(
    values: NDArray, affine: NDArray, axes: str, path: Path, kind: str, slope: float = 1.0, inter: float = 0.0
) -> nib.Nifti1Image:
    """Writes `values` (RAS order) with axes in the order named, and reads the file back."""
    raw = np.rint((values - inter) / slope) if np.dtype(kind).kind in "iu" else values
    image = nib.Nifti1Image(raw.astype(kind), affine)
    target = nib.orientations.axcodes2ornt(tuple(axes))
    image = image.as_reoriented(nib.orientations.ornt_transform(nib.orientations.io_orientation(affine), target))
    header = image.header.copy()
    data = np.asarray(image.dataobj)
    stored = nib.Nifti1Image(data, image.affine, header)
    stored.header.set_slope_inter(slope, inter)
    stored.set_sform(image.affine, 1)
    stored.set_qform(None, 0)
    # nibabel would rescale; the raw numbers are written as they are.
    stored.header["scl_slope"], stored.header["scl_inter"] = slope, inter
    with_header = stored.header.copy()
    path.parent.mkdir(parents=True, exist_ok=True)
    block = bytearray(with_header.structarr.tobytes())
    block[108:112] = struct.pack("<f", 352.0)
    block[112:120] = struct.pack("<2f", slope, inter)
    block[344:348] = b"n+1\0"
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    payload = bytes(block) + bytes(4) + data.tobytes(order="F")
    path.write_bytes(packer.compress(payload) + packer.flush())
    return nib.Nifti1Image.from_filename(path)


def pet_of(spec: Spec, x: NDArray, y: NDArray, z: NDArray) -> NDArray:
    """A body with a bladder, a head and a lesion; steps of 1/32 SUV so that it packs well."""
    centre, size = centre_and_size(spec)
    u, v, w = (x - centre[0]) / size[0], (y - centre[1]) / size[1], (z - centre[2]) / size[2]
    body = (((u / 0.46) ** 2 + (v / 0.4) ** 2 < 1) & (w < 0.46)) | spec.edge_to_edge
    values = np.where(body, 0.75 + 0.5 * u + 0.4 * w, 0.0)
    values += np.where((w > 0.2) & (w < 0.36) & (u**2 + v**2 < 0.02), 6.5, 0.0)
    lx, ly, lz, radius = spec.lesion
    r2 = (x - centre[0] - lx * size[0]) ** 2 + (y - centre[1] - ly * size[1]) ** 2 + (z - centre[2] - lz * size[2]) ** 2
    values += 9 * np.maximum(1 - r2 / (2 * radius) ** 2, 0)
    return np.rint(values * 32) / 32


def ct_of(spec: Spec, x: NDArray, y: NDArray, z: NDArray) -> NDArray:
    centre, size = centre_and_size(spec)
    u, v, w = (x - centre[0]) / size[0], (y - centre[1]) / size[1], (z - centre[2]) / size[2]
    values = np.where((u / 0.47) ** 2 + (v / 0.41) ** 2 < 1, 40 + np.rint(60 * u) * 2 + np.rint(40 * w) * 2, -1000)
    values = np.where(u**2 + (v + 0.25) ** 2 < 0.004, 700, values)
    return np.where((abs(u) > 0.15) & (u**2 + v**2 < 0.1) & (abs(w) < 0.2), -820, values)


def mask_of(spec: Spec, x: NDArray, y: NDArray, z: NDArray) -> NDArray:
    centre, size = centre_and_size(spec)
    lx, ly, lz, radius = spec.lesion
    r2 = (x - centre[0] - lx * size[0]) ** 2 + (y - centre[1] - ly * size[1]) ** 2 + (z - centre[2] - lz * size[2]) ** 2
    return (r2 < radius**2).astype(np.float64)


def tilted(spacing: tuple[float, float, float], origin: tuple[float, float, float]) -> NDArray:
    """A grid turned by a few degrees about two axes."""
    a, b = np.deg2rad(7.0), np.deg2rad(-4.0)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]
    )
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing)
    affine[:3, 3] = origin
    return affine.astype(np.float32).astype(np.float64)


SPECS = {
    # Smaller than the canvas: padded on both sides, odd sizes.
    "padded": Spec((71, 64, 83), grid((5.3, 5.3, 3.27), (-180.3, -160.7, -881.3)), axes="LPS"),
    # Larger than the canvas and taller than 350 slices: cropped. int16 PET with slope.
    "cropped": Spec(
        (96, 88, 176),
        grid((7.1, 7.4, 7.7), (-340.2, -310.9, 12.4)),
        axes="PIR",
        pet_type="int16",
        lesion=(0.1, 0.05, 0.2, 30.0),
    ),
    # CT and PET on grids of their own; the CT is smaller in x and y, larger voxels in z. uint8 PET.
    "two_grids": Spec(
        (50, 50, 60),
        grid((4, 4, 4), (-98, -98, -100.5)),
        (128, 128, 47),
        grid((1.4, 1.4, 5.1), (-90.3, -88.8, -104.2)),
        axes="LAS",
        pet_type="uint8",
        mask_type="int16",
    ),
    # The same with air outside the CT, and views of a smaller model.
    "air": Spec(
        (50, 50, 60),
        grid((4, 4, 4), (-98, -98, -100.5)),
        (128, 128, 47),
        grid((1.4, 1.4, 5.1), (-90.3, -88.8, -104.2)),
        axes="SRA",
        mask_type="float32",
        extent=(12, 80, 112),
        outside=-1000.0,
    ),
    # Axes that are not parallel to the patient's.
    "tilted": Spec((60, 58, 64), tilted((4.1, 4.1, 3.6), (-110.2, -120.4, -60.0)), axes="ILA", extent=(16, 128, 128)),
    # Axes that are parallel but for rounding errors of a rotation.
    "nearly_parallel": Spec(
        (40, 38, 52),
        np.array(
            [[4.3, 2.6e-16, -1e-16, -85.1], [-2.6e-16, 4.3, 1.7e-16, -80.7], [0, 2e-16, 3.9, -101.3], [0, 0, 0, 1]]
        )
        .astype(np.float32)
        .astype(np.float64),
        axes="LPS",
        extent=(16, 128, 128),
        edge_to_edge=True,
    ),
    # Already on a 3 mm grid.
    "three_mm": Spec((80, 78, 90), grid((3, 3, 3), (-120, -117, -135)), axes="RAS", extent=(16, 128, 128)),
}


# ---- Files -----------------------------------------------------------------------------------------------------


def pack(arrays: list[Array], seed: int) -> bytes:
    random = np.random.default_rng(seed)
    depth, height, width = arrays[0].shape
    out = [struct.pack("<3I", depth, height, width)]
    for index, array in enumerate(arrays):
        flat = array.reshape(-1)
        if index % 3 == 1:
            out.append(np.packbits(flat > 0.5).tobytes())
            continue
        places = np.sort(random.choice(flat.size, size=min(SAMPLES, flat.size), replace=False))
        out.append(struct.pack("<I", places.size))
        out.append(places.astype("<u4").tobytes())
        out.append(flat[places].astype("<f4").tobytes())
        out.append(array.mean(axis=(1, 2), dtype=np.float64).astype("<f8").tobytes())
    return zlib.compress(b"".join(out), 9)


ValuesOf = Callable[[Spec, NDArray, NDArray, NDArray], NDArray]


def make(name: str, spec: Spec) -> None:
    folder = OUT / name
    ct_shape = spec.ct_shape or spec.shape
    ct_affine = spec.affine if spec.ct_affine is None else spec.ct_affine

    def values(make_values: ValuesOf, shape: tuple[int, int, int], affine: NDArray) -> NDArray:
        return make_values(spec, *millimetres(shape, affine))

    scaled = np.dtype(spec.pet_type).kind in "iu"
    pet = store(
        values(pet_of, spec.shape, spec.affine),
        spec.affine,
        spec.axes,
        folder / "pet.nii.gz",
        spec.pet_type,
        *((1 / 16, 0.0) if scaled else (1.0, 0.0)),
    )
    slope, inter = (1.0, -1024.0) if name == "cropped" else (1.0, 0.0)
    ct = store(values(ct_of, ct_shape, ct_affine), ct_affine, spec.axes, folder / "ct.nii.gz", "int16", slope, inter)
    mask = store(values(mask_of, ct_shape, ct_affine), ct_affine, spec.axes, folder / "mask.nii.gz", spec.mask_type)
    arrays = six_arrays(pet, ct, mask, spec.extent, spec.outside)
    (folder / "reference.bin").write_bytes(pack(arrays, seed=len(name)))
    print(name, [round(float(a.mean()), 4) for a in arrays], arrays[1].sum(), file=sys.stderr)


def make_nifti_variants() -> None:
    """Voxel (i, j, k) of 3 x 4 x 5 has the value i + 4 j + 16 k."""
    folder = OUT / "nifti"
    folder.mkdir(parents=True, exist_ok=True)
    i, j, k = np.meshgrid(np.arange(3), np.arange(4), np.arange(5), indexing="ij")
    data = i + 4 * j + 16 * k
    affine = grid((2, 2.5, 3), (-10, 20.5, -30.25))
    expected: list[str] = []

    def save(image: nib.Nifti1Pair, name: str) -> None:
        nib.save(image, folder / name)
        numbers = " ".join(repr(float(v)) for v in type(image).from_filename(folder / name).affine[:3].reshape(-1))
        expected.append(f"{name} {numbers}")

    kinds = ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]
    for version, cls, pair in (("1", nib.Nifti1Image, nib.Nifti1Pair), ("2", nib.Nifti2Image, nib.Nifti2Pair)):
        header_class = cls.header_class
        for order in "<>":
            for kind in kinds if version == "1" else ("i2", "f4"):
                header = header_class(endianness=order)
                header.set_data_dtype(np.dtype(order + kind))
                image = cls(data.astype(order + kind), affine, header)
                save(image, f"v{version}_{'le' if order == '<' else 'be'}_{kind}.nii.gz")
        save(cls(data.astype(np.int16), affine), f"v{version}_plain.nii")
        save(pair(data.astype(np.int16), affine), f"v{version}_pair.img")
        save(pair(data.astype(np.int16), affine), f"v{version}_packed_pair.img.gz")
        image = cls(data.astype(np.int16), affine)
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"skip me " * 5))
        save(image, f"v{version}_extension.nii.gz")
        for name, matrix in (
            ("turned", tilted((2, 2.5, 3), (-10, 20.5, -30.25))),
            ("half_turn", np.diag((-2.0, -2.5, 3.0, 1.0))),
            ("left_handed", np.diag((-2.0, 2.5, 3.0, 1.0))),
        ):
            image = cls(data.astype(np.uint8), None)
            image.set_qform(matrix, 1)
            image.set_sform(None, 0)
            save(image, f"v{version}_qform_{name}.nii.gz")
    save(nib.Nifti1Image(data[..., None].astype(np.uint8), affine), "v1_one_frame.nii.gz")
    (folder / "expected.txt").write_text("\n".join(expected) + "\n")


def check_with_simpleitk() -> None:
    """nilearn and SimpleITK must agree on CT brought onto a PET grid, away from the CT's edge."""
    import SimpleITK

    spec = Spec(
        (200, 200, 80), grid((4, 4, 4), (-398, -402, -151)), (512, 512, 120), grid((1, 1, 3), (-250, -260, -170))
    )
    assert spec.ct_shape is not None and spec.ct_affine is not None
    ct = nib.Nifti1Image(ct_of(spec, *millimetres(spec.ct_shape, spec.ct_affine)).astype(np.float32), spec.ct_affine)
    pet = nib.Nifti1Image(np.zeros(spec.shape, np.float32), spec.affine)
    ours = resample_to_img(ct, pet, interpolation="linear", fill_value=0).get_fdata()

    def to_itk(image: nib.Nifti1Image) -> SimpleITK.Image:
        result = SimpleITK.GetImageFromArray(image.get_fdata().transpose(2, 1, 0))
        result.SetSpacing([float(v) for v in np.diag(image.affine)[:3]])
        result.SetOrigin([float(v) for v in image.affine[:3, 3]])
        return result

    theirs = SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(to_itk(ct), to_itk(pet), SimpleITK.Transform(), SimpleITK.sitkLinear, 0.0)
    ).transpose(2, 1, 0)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in spec.shape), indexing="ij"), axis=-1)
    at = (index @ np.diag(np.diag(spec.affine)[:3]) + spec.affine[:3, 3] - spec.ct_affine[:3, 3]) / np.diag(
        spec.ct_affine
    )[:3]
    inside = ((at >= 0) & (at <= np.array(spec.ct_shape) - 1)).all(axis=-1)
    difference = float(abs(ours - theirs)[inside].max())
    print(f"nilearn against SimpleITK: {difference:.2g} HU inside the CT ({inside.mean():.0%})", file=sys.stderr)
    assert difference < 1e-3


if __name__ == "__main__":
    check_with_simpleitk()
    make_nifti_variants()
    for exam, specification in SPECS.items():
        make(exam, specification)
