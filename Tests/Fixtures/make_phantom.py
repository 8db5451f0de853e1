"""Make a PET/CT exam to try things on: a digital person with three lesions. Needs numpy and nibabel.

    python make_phantom.py OUT_DIR [--seed 1] [--coarse] [--preview preview.png]

writes pet.nii.gz (SUV, float32), ct.nii.gz (HU, int16, another grid and field of view), lesions.nii.gz (labels on
the PET grid) and lesions.json (label -> what and where it is). --coarse makes large voxels on one grid without
noise, for fixtures. --preview draws the exam (needs matplotlib).

World coordinates are millimetres, RAS: +x patient right, +y anterior, +z head. Organs are ellipsoids and tubes
painted one over the other, with FDG-like uptake on PET and usual densities on CT. Nothing here is a patient.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

Point = tuple[float, float, float]
Box = tuple[Point, Point]
# Signed distance in mm (negative inside), from broadcastable x, y, z.
Distance = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

HEIGHT = 960.0


@dataclass(frozen=True)
class Shape:
    box: Box
    distance: Distance


def ellipsoid(centre: Point, radii: Point) -> Shape:
    def distance(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        scaled = [(v - c) / r for v, c, r in zip((x, y, z), centre, radii)]
        return (np.sqrt(scaled[0] ** 2 + scaled[1] ** 2 + scaled[2] ** 2) - 1) * min(radii)

    low, high = (tuple(c + sign * (r + 6) for c, r in zip(centre, radii)) for sign in (-1, 1))
    return Shape((low, high), distance)  # type: ignore[arg-type]


def tube(start: Point, end: Point, radius: float, end_radius: float | None = None) -> Shape:
    """A round-ended tube whose radius changes linearly from start to end."""
    last = radius if end_radius is None else end_radius
    axis = np.subtract(end, start)

    def distance(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        offset = [v - s for v, s in zip((x, y, z), start)]
        along = sum(o * a for o, a in zip(offset, axis)) / float(axis @ axis)
        along = np.clip(along, 0, 1)
        square = sum((o - along * a) ** 2 for o, a in zip(offset, axis))
        return np.sqrt(square) - (radius + (last - radius) * along)

    reach = max(radius, last) + 6
    low = tuple(min(s, e) - reach for s, e in zip(start, end))
    high = tuple(max(s, e) + reach for s, e in zip(start, end))
    return Shape((low, high), distance)  # type: ignore[arg-type]


def trunk(inset: float = 0) -> Shape:
    """Pelvis to neck: an ellipse in each slice."""
    levels = [110, 150, 230, 330, 400, 500, 620, 690, 720, 745, 790]
    width = [172, 180, 178, 158, 155, 165, 178, 186, 150, 72, 60]
    depth = [105, 112, 115, 106, 105, 112, 116, 100, 80, 64, 60]
    middle = [0, 0, 0, 0, 0, 0, 0, -4, -8, -8, 0]

    def distance(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        a, b, c = (np.interp(z, levels, values) for values in (width, depth, middle))
        across = (np.sqrt((x / a) ** 2 + ((y - c) / b) ** 2) - 1) * np.minimum(a, b)
        return np.maximum(across, np.maximum(levels[0] - z, z - levels[-1])) + inset

    return Shape(((-200, -130, 100), (200, 130, 800)), distance)


def ribs() -> Shape:
    """Slanting rings on the surface of the chest."""

    def distance(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        ring = np.abs((np.sqrt((x / 146) ** 2 + (y / 98) ** 2 + ((z - 585) / 185) ** 2) - 1) * 98) - 4
        wave = 6 - 13 * np.abs(((z + 0.35 * y) / 27) % 1 - 0.5) * 2
        return np.maximum(np.maximum(ring, -wave), np.maximum(480 - z, z - 705))

    return Shape(((-160, -110, 470), (160, 110, 710)), distance)


def couch() -> Shape:
    def distance(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        surface = -124 + (x / 200) ** 2 * 28
        return np.maximum(np.abs(y - surface + 8 + 0 * z) - 8, np.abs(x) - 205)

    return Shape(((-215, -150, -10), (215, -80, HEIGHT + 10)), distance)


@dataclass(frozen=True)
class Organ:
    shape: Shape
    suv: float
    hu: float


@dataclass(frozen=True)
class Lesion:
    name: str
    site: str
    centre: Point
    radii: Point
    suv: float
    hu: float


LESIONS = [
    Lesion("liver metastasis", "right lobe of the liver", (92, 20, 462), (15, 13, 15), 9.0, 45),
    Lesion("pulmonary nodule", "right upper lobe", (72, 25, 652), (6.5, 6.5, 7), 6.5, 20),
    Lesion("lymph node metastasis", "left axilla", (-163, 2, 662), (11, 9, 14), 7.5, 40),
]


def mirrored(make: Callable[[float], Shape]) -> list[Shape]:
    return [make(1), make(-1)]


def anatomy() -> list[Organ]:
    """Painted in this order, later over earlier."""
    organs: list[Organ] = []

    def add(suv: float, hu: float, *shapes: Shape) -> None:
        organs.extend(Organ(shape, suv, hu) for shape in shapes)

    def limbs(less: float) -> list[Shape]:
        arms = mirrored(lambda s: tube((s * 165, -15, 690), (s * 128, 25, 990), 52 - less, 40 - less))
        return arms + mirrored(lambda s: tube((s * 92, 0, -60), (s * 90, 0, 150), 80 - less, 92 - less))

    head = ellipsoid((0, 12, 848), (77, 97, 106))
    add(0.35, -100, trunk(), *limbs(0))
    add(0.7, 50, trunk(16), *limbs(12), head, tube((0, 40, 760), (0, 70, 790), 34))
    # Chest: the cage, then what is in it.
    add(0.9, 420, ribs(), tube((0, 97, 560), (0, 92, 680), 9))
    add(0.9, 450, *mirrored(lambda s: tube((s * 20, 78, 695), (s * 140, 20, 705), 7)))
    add(0.8, 380, *mirrored(lambda s: ellipsoid((s * 100, -92, 640), (38, 6, 55))))
    add(0.45, -820, *mirrored(lambda s: ellipsoid((s * 76, -4, 590), (58, 80, 122))))
    add(0.7, 45, ellipsoid((0, 5, 610), (34, 62, 110)))
    add(1.6, 45, tube((-14, -40, 400), (-20, -38, 640), 12), tube((-20, -38, 640), (14, 20, 650), 13))
    add(1.5, 42, tube((16, 30, 540), (14, 22, 660), 13))
    add(
        0.6, -950, tube((0, -12, 650), (0, 10, 770), 8), *mirrored(lambda s: tube((0, -12, 650), (s * 40, -15, 620), 6))
    )
    add(4.2, 48, ellipsoid((-34, 38, 556), (46, 42, 46)))
    add(1.6, 42, ellipsoid((-30, 34, 560), (30, 27, 30)), ellipsoid((8, 38, 575), (32, 34, 36)))
    # Abdomen.
    add(2.2, 62, ellipsoid((78, 12, 470), (70, 82, 72)), ellipsoid((5, 45, 470), (70, 40, 38)))
    add(1.3, 15, ellipsoid((52, 58, 425), (15, 14, 24)))
    add(1.9, 52, ellipsoid((-108, -48, 470), (28, 40, 48)))
    add(1.4, 30, ellipsoid((-62, 40, 480), (40, 36, 44)))
    add(0.6, -850, ellipsoid((-64, 62, 500), (24, 12, 22)))
    add(1.5, 40, tube((28, 8, 420), (-60, -8, 448), 11))
    add(2.8, 38, *mirrored(lambda s: ellipsoid((s * 66, -52, 400), (27, 24, 54))))
    add(7.5, 20, *mirrored(lambda s: ellipsoid((s * 58, -46, 398), (10, 9, 22))))
    bowel = [(-70, 50, 360), (-30, 62, 340), (20, 58, 365), (62, 50, 335), (-52, 40, 300), (8, 52, 300), (50, 44, 290)]
    for index, centre in enumerate(bowel):
        add(1.1 + 0.35 * (index % 3), 25, ellipsoid(centre, (30, 22, 22)))
    add(1.8, 20, tube((98, 20, 250), (98, 25, 385), 22), tube((-102, 10, 240), (-104, 10, 420), 19))
    add(0.8, -700, ellipsoid((98, 34, 340), (14, 10, 30)), ellipsoid((-102, 24, 330), (10, 8, 40)))
    add(0.8, -600, ellipsoid((20, 72, 365), (18, 8, 12)))
    # Spine, pelvis, legs, arms.
    for level in range(29):
        z = 205 + 20.5 * level
        size = 24 - 0.4 * level
        add(1.2, 260, ellipsoid((0, -58 + 0.25 * level, z), (size, size * 0.8, 9.5)))
        add(0.9, 420, tube((0, -80, z), (0, -98, z - 8), 5))
    add(0.9, 25, tube((0, -80, 215), (0, -72, 790), 7))
    add(1.0, 330, *mirrored(lambda s: ellipsoid((s * 92, -28, 255), (18, 52, 62))))
    add(1.1, 200, *mirrored(lambda s: ellipsoid((s * 92, -28, 255), (11, 44, 54))))
    add(1.0, 380, *mirrored(lambda s: tube((s * 90, -10, 195), (s * 14, 62, 165), 13, 9)))
    add(1.0, 300, ellipsoid((0, -76, 215), (45, 18, 48)))
    add(0.8, 500, *mirrored(lambda s: ellipsoid((s * 96, -5, 180), (24, 24, 24))))
    add(0.7, 650, *mirrored(lambda s: tube((s * 112, -8, 165), (s * 92, 0, -60), 16)))
    add(0.6, 100, *mirrored(lambda s: tube((s * 110, -8, 150), (s * 92, 0, -60), 8)))
    add(0.7, 600, *mirrored(lambda s: tube((s * 160, -12, 705), (s * 128, 22, 990), 13)))
    add(14.0, 8, ellipsoid((0, 42, 205), (36, 32, 27)))
    # Head.
    add(0.6, 900, ellipsoid((0, 12, 858), (70, 90, 90)))
    add(11.5, 38, ellipsoid((0, 8, 868), (63, 82, 72)))
    add(4.5, 30, *mirrored(lambda s: ellipsoid((s * 27, 6, 874), (21, 58, 40))))
    add(11.0, 38, *mirrored(lambda s: ellipsoid((s * 20, 10, 858), (9, 16, 14))))
    add(2.0, 8, *mirrored(lambda s: ellipsoid((s * 9, 0, 876), (5, 26, 12))))
    add(8.5, 36, ellipsoid((0, -42, 814), (42, 28, 20)))
    add(0.7, -700, ellipsoid((0, 82, 808), (14, 14, 16)), tube((0, 30, 770), (0, 66, 800), 9))
    add(1.5, 20, *mirrored(lambda s: ellipsoid((s * 31, 86, 838), (13, 13, 13))))
    add(2.4, 45, *mirrored(lambda s: ellipsoid((s * 52, 20, 775), (12, 18, 18))))
    for lesion in LESIONS:
        add(lesion.suv, lesion.hu, ellipsoid(lesion.centre, lesion.radii))
    return organs


@dataclass(frozen=True)
class Grid:
    """Stored as scanners' files mostly are: first axis towards patient left, second anterior, third to the head."""

    shape: tuple[int, int, int]
    spacing: Point
    origin: Point

    @property
    def affine(self) -> np.ndarray:
        affine = np.diag([-self.spacing[0], self.spacing[1], self.spacing[2], 1.0])
        affine[:3, 3] = self.origin
        return affine

    def axes(self) -> list[np.ndarray]:
        steps = (-self.spacing[0], self.spacing[1], self.spacing[2])
        return [o + s * np.arange(n) for o, s, n in zip(self.origin, steps, self.shape)]

    def window(self, box: Box) -> tuple[slice, ...]:
        """The voxels inside a box in mm."""
        slices = []
        for axis, low, high in zip(self.axes(), *box):
            inside = np.flatnonzero((axis >= low) & (axis <= high))
            slices.append(slice(inside[0], inside[-1] + 1) if inside.size else slice(0))
        return tuple(slices)

    def distance(self, shape: Shape) -> tuple[tuple[slice, ...], np.ndarray]:
        window = self.window(shape.box)
        x, y, z = np.meshgrid(*(a[s] for a, s in zip(self.axes(), window)), indexing="ij", sparse=True)
        return window, shape.distance(x, y, z)


def centred(shape: tuple[int, int, int], spacing: Point, bottom: float, shift: float = 0) -> Grid:
    origin = (spacing[0] * (shape[0] - 1) / 2, -spacing[1] * (shape[1] - 1) / 2 + shift, bottom)
    return Grid(shape, spacing, origin)


def paint(field: np.ndarray, grid: Grid, shape: Shape, value: float, edge: float) -> None:
    window, distance = grid.distance(shape)
    cover = np.clip(0.5 - distance / edge, 0, 1).astype(np.float32)
    field[window] += (value - field[window]) * cover


def blurred(field: np.ndarray, sigma: Point) -> np.ndarray:
    """Gaussian blur; sigma in voxels for each axis; edges repeat."""
    for axis, width in enumerate(sigma):
        reach = max(1, int(np.ceil(3 * width)))
        weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
        weights = (weights / weights.sum()).astype(np.float32)
        padded = np.pad(field, [(reach, reach) if a == axis else (0, 0) for a in range(3)], mode="edge")
        length = field.shape[axis]
        pieces = [np.take(padded, range(k, k + length), axis=axis) * w for k, w in enumerate(weights)]
        field = sum(pieces[1:], start=pieces[0])
    return field


def make_pet(grid: Grid, rng: np.random.Generator | None) -> np.ndarray:
    field = np.zeros(grid.shape, np.float32)
    for organ in anatomy():
        paint(field, grid, organ.shape, organ.suv, edge=4)
    # The scanner's resolution, about 6 mm full width at half maximum.
    field = blurred(field, tuple(2.6 / s for s in grid.spacing))  # type: ignore[arg-type]
    if rng is not None:
        noise = blurred(rng.standard_normal(grid.shape, np.float32), (0.8, 0.8, 0.7))
        field += noise * (0.28 * np.sqrt(field + 0.02))
    return np.maximum(field, 0)


def make_ct(grid: Grid, rng: np.random.Generator | None) -> np.ndarray:
    field = np.full(grid.shape, -1000, np.float32)
    paint(field, grid, couch(), -300, edge=3)
    for organ in anatomy():
        paint(field, grid, organ.shape, organ.hu, edge=2)
    if rng is not None:
        field += blurred(rng.standard_normal(grid.shape, np.float32) * 45, (0.7, 0.7, 0.5))
    return np.clip(np.round(field), -1024, 3071).astype(np.int16)


def make_lesions(grid: Grid) -> np.ndarray:
    labels = np.zeros(grid.shape, np.uint8)
    for label, lesion in enumerate(LESIONS, start=1):
        window, distance = grid.distance(ellipsoid(lesion.centre, lesion.radii))
        labels[window][distance <= 0] = label
    return labels


def save(voxels: np.ndarray, grid: Grid, path: Path, scale: float | None = None) -> None:
    image = nibabel.Nifti1Image(voxels, grid.affine)
    image.header.set_xyzt_units("mm")
    if scale is not None:
        image.set_data_dtype(np.uint8)
        image = nibabel.Nifti1Image(np.clip(np.round(voxels / scale), 0, 255).astype(np.uint8), grid.affine)
        image.header.set_slope_inter(scale, 0)
    nibabel.save(image, path)


def write_exam(folder: Path, seed: int = 1, coarse: bool = False) -> None:
    """coarse: one grid of large voxels, no noise, PET stored in bytes, so that the files are small."""
    folder.mkdir(parents=True, exist_ok=True)
    if coarse:
        pet_grid = ct_grid = centred((68, 56, 160), (6.5, 6.0, 6.0), 0)
    else:
        pet_grid = centred((112, 112, 192), (4.07, 4.07, 5.0), 0)
        ct_grid = centred((184, 184, 240), (2.34, 2.34, 4.0), 1.5, shift=-12)
    rng = None if coarse else np.random.default_rng(seed)
    save(make_pet(pet_grid, rng), pet_grid, folder / "pet.nii.gz", scale=0.06 if coarse else None)
    save(make_ct(ct_grid, rng), ct_grid, folder / "ct.nii.gz")
    save(make_lesions(pet_grid), pet_grid, folder / "lesions.nii.gz")
    described = {
        str(label): {
            "lesion": lesion.name,
            "site": lesion.site,
            "suv": lesion.suv,
            "diameter_mm": 2 * max(lesion.radii),
        }
        for label, lesion in enumerate(LESIONS, start=1)
    }
    (folder / "lesions.json").write_text(json.dumps(described, indent=2) + "\n")


def draw_preview(folder: Path, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pet, ct, lesions = (nibabel.load(folder / f"{name}.nii.gz") for name in ("pet", "ct", "lesions"))
    pet_values, ct_values, labels = (np.asarray(image.dataobj, np.float32) for image in (pet, ct, lesions))
    figure, panels = pyplot.subplots(2, 4, figsize=(17, 13))

    def show(panel: Any, plane: np.ndarray, steps: tuple[float, float], title: str, **how: Any) -> None:
        extent = (0, plane.shape[0] * steps[0], 0, plane.shape[1] * steps[1])
        panel.imshow(plane.T, origin="lower", extent=extent, **how)
        panel.set_title(title)
        panel.axis("off")

    step, ct_step = pet.header.get_zooms(), ct.header.get_zooms()
    grey = {"cmap": "gray_r", "vmin": 0, "vmax": 8}
    window = {"cmap": "gray", "vmin": -300, "vmax": 400}
    show(panels[0, 0], pet_values.max(1), (step[0], step[2]), "PET, MIP", **grey)
    show(panels[0, 1], pet_values.max(0), (step[1], step[2]), "PET, MIP from the side", **grey)
    show(panels[0, 2], ct_values[:, ct.shape[1] // 2], (ct_step[0], ct_step[2]), "CT, coronal", **window)
    show(panels[0, 3], ct_values[ct.shape[0] // 2], (ct_step[1], ct_step[2]), "CT, sagittal", **window)
    for column, label in enumerate(range(1, len(LESIONS) + 1)):
        k = int(np.median(np.nonzero(labels == label)[2]))
        z = pet.affine[2, 3] + k * step[2]
        slice_ct = round((z - ct.affine[2, 3]) / ct_step[2])
        show(panels[1, column], ct_values[:, :, slice_ct], ct_step[:2], LESIONS[label - 1].name, **window)
        half = [n * s / 2 for n, s in zip(ct.shape, ct_step)]
        centre = ct.affine[:3, 3] + [-half[0], half[1], 0]
        low = [half[0] + centre[0] - pet.affine[0, 3], half[1] - centre[1] + pet.affine[1, 3]]
        overlay = np.ma.masked_less(pet_values[:, :, k].T, 1.5)
        extent = (low[0], low[0] + pet.shape[0] * step[0], low[1], low[1] + pet.shape[1] * step[1])
        panels[1, column].imshow(overlay, origin="lower", extent=extent, cmap="hot", vmin=0, vmax=9, alpha=0.5)
        panels[1, column].set_xlim(0, ct.shape[0] * ct_step[0])
        panels[1, column].set_ylim(0, ct.shape[1] * ct_step[1])
    show(panels[1, 3], pet_values[:, :, int(870 / step[2])], step[:2], "PET, brain", cmap="gray_r", vmin=0, vmax=12)
    figure.tight_layout()
    figure.savefig(path, dpi=60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--coarse", action="store_true")
    parser.add_argument("--preview", type=Path)
    arguments = parser.parse_args()
    write_exam(arguments.out, arguments.seed, arguments.coarse)
    if arguments.preview:
        draw_preview(arguments.out, arguments.preview)


if __name__ == "__main__":
    main()
