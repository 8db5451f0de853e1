"""Draw exams of a phantom data set as a physician looks at them. Needs numpy, nibabel and matplotlib.

petar-train phantom --exams 20 --seed 1 --out phantoms
python docs/draw_phantoms.py phantoms docs/figures
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import nibabel
import numpy as np
from matplotlib import pyplot

SOFT_TISSUE, LUNG, BONE = (-160, 240), (-1150, 350), (-300, 1100)


@dataclass(frozen=True)
class Volume:
    """Voxels along right, anterior, superior, with their size and first place in mm."""

    voxels: np.ndarray
    spacing: np.ndarray
    origin: np.ndarray

    @staticmethod
    def load(path: Path) -> Volume:
        image = nibabel.load(path)
        affine = image.affine
        return Volume(np.asarray(image.dataobj, np.float32), np.diag(affine)[:3], affine[:3, 3])

    def index(self, axis: int, place: float) -> int:
        step = round((place - self.origin[axis]) / self.spacing[axis])
        return int(np.clip(step, 0, self.voxels.shape[axis] - 1))

    def plane(self, axis: int, place: float) -> np.ndarray:
        return np.take(self.voxels, self.index(axis, place), axis=axis)

    def extent(self, axis: int) -> tuple[float, float, float, float]:
        """Of the plane across an axis, in mm: left, right, bottom, top."""
        a, b = (other for other in range(3) if other != axis)
        low = self.origin - self.spacing / 2
        high = low + self.spacing * self.voxels.shape
        return (low[a], high[a], low[b], high[b])


@dataclass(frozen=True)
class Exam:
    pet: Volume
    ct: Volume
    lesions: Volume

    @staticmethod
    def load(folder: Path) -> Exam:
        return Exam(*(Volume.load(folder / f"{name}.nii.gz") for name in ("pet", "ct", "lesions")))

    def middle(self, label: int) -> np.ndarray:
        voxels = np.argwhere(self.lesions.voxels == label)
        return np.asarray(self.lesions.origin + voxels.mean(axis=0) * self.lesions.spacing)


def show(panel: Any, volume: Volume, axis: int, plane: np.ndarray, **how: Any) -> None:
    """As seen from the front or from the feet: the patient's right is on the left."""
    panel.imshow(plane.T, origin="lower", extent=volume.extent(axis), interpolation="bilinear", **how)
    left, right, bottom, top = volume.extent(axis)
    panel.set_xlim((right, left) if axis != 0 else (left, right))
    panel.set_ylim(bottom, top)
    panel.set_aspect("equal")
    panel.set_axis_off()


def show_ct(panel: Any, exam: Exam, axis: int, place: float, window: tuple[int, int]) -> None:
    show(panel, exam.ct, axis, exam.ct.plane(axis, place), cmap="gray", vmin=window[0], vmax=window[1])


def show_fused(panel: Any, exam: Exam, axis: int, place: float, most: float) -> None:
    show_ct(panel, exam, axis, place, SOFT_TISSUE)
    limits = panel.get_xlim(), panel.get_ylim()
    pet = np.clip(exam.pet.plane(axis, place) / most, 0, 1)
    show(panel, exam.pet, axis, pet, cmap="hot", vmin=0, vmax=1, alpha=np.clip(pet.T * 1.3, 0, 0.75))
    panel.set_xlim(limits[0])
    panel.set_ylim(limits[1])


def show_mip(panel: Any, exam: Exam, axis: int, most: float) -> None:
    show(panel, exam.pet, axis, exam.pet.voxels.max(axis=axis), cmap="gray_r", vmin=0, vmax=most)


def save(figure: Any, path: Path, dots: int) -> None:
    figure.savefig(path, dpi=dots, bbox_inches="tight", pad_inches=0.05, pil_kwargs={"optimize": True})
    pyplot.close(figure)
    print(path, path.stat().st_size // 1000, "kB")


def draw_tracers(folder: Path, described: list[dict[str, Any]], path: Path) -> None:
    """Maximum intensity projections of one exam for each tracer."""
    tracers = ("FDG", "DOTATATE", "fluciclovine", "DCFPyL")
    names = [next(exam["exam"] for exam in described if exam["tracer"] == tracer) for tracer in tracers]
    exams = [Exam.load(folder / "exams" / name) for name in names]
    # One scale for all of them.
    sizes = [exam.pet.spacing * exam.pet.voxels.shape for exam in exams]
    widths = [width for size in sizes for width in (size[0], size[1])]
    height = max(size[2] for size in sizes)
    figure, panels = pyplot.subplots(
        1, 8, figsize=(15, 15 * height / sum(widths)), gridspec_kw={"width_ratios": widths}
    )
    for column, (tracer, exam) in enumerate(zip(tracers, exams)):
        most = {"FDG": 8, "DOTATATE": 15, "fluciclovine": 10, "DCFPyL": 15}[tracer]
        show_mip(panels[2 * column], exam, 1, most)
        show_mip(panels[2 * column + 1], exam, 0, most)
        panels[2 * column].set_title(f"{tracer}, SUV 0-{most}", fontsize=9, loc="left")
    figure.subplots_adjust(wspace=0.02, left=0, right=1, bottom=0, top=0.95)
    save(figure, path, 70)


def draw_exam(exam: Exam, answer: str, label: int, path: Path) -> None:
    """One exam in CT, PET and both, through one of its lesions."""
    place = exam.middle(label)
    figure = pyplot.figure(figsize=(15, 10.6), facecolor="black")
    grid = figure.add_gridspec(2, 4, height_ratios=(2.1, 1), wspace=0.02, hspace=0.03)
    panels = [figure.add_subplot(grid[0, column]) for column in range(4)]
    show_ct(panels[0], exam, 1, place[1], SOFT_TISSUE)
    show_ct(panels[1], exam, 1, place[1], LUNG)
    show_fused(panels[2], exam, 1, place[1], 8)
    show_mip(panels[3], exam, 1, 8)
    below = [figure.add_subplot(grid[1, column]) for column in range(4)]
    show_ct(below[0], exam, 2, place[2], SOFT_TISSUE)
    show_ct(below[1], exam, 2, place[2], BONE)
    show_fused(below[2], exam, 2, place[2], 8)
    show(below[3], exam.pet, 2, exam.pet.plane(2, place[2]), cmap="gray_r", vmin=0, vmax=8)
    mask = exam.lesions.plane(2, place[2]) == label
    below[3].contour(mask.T, levels=[0.5], colors="red", linewidths=1, extent=exam.lesions.extent(2), origin="lower")
    figure.suptitle(answer, color="white", fontsize=10, y=0.905)
    save(figure, path, 62)


def draw_levels(exam: Exam, path: Path) -> None:
    """Axial slices from the head to the thighs in the soft-tissue window, with the PET below each."""
    top = exam.pet.origin[2] + exam.pet.spacing[2] * (exam.pet.voxels.shape[2] - 1)
    bottom = exam.pet.origin[2]
    figure, panels = pyplot.subplots(4, 6, figsize=(15, 7.6), facecolor="black")
    for index in range(12):
        place = top - 40 - (top - bottom - 80) * index / 11
        row, column = 2 * (index // 6), index % 6
        show_ct(panels[row][column], exam, 2, place, SOFT_TISSUE)
        show_fused(panels[row + 1][column], exam, 2, place, 8)
        for panel in (panels[row][column], panels[row + 1][column]):
            panel.set_ylim(exam.pet.origin[1] - 25, exam.pet.extent(2)[3])
    figure.subplots_adjust(wspace=0.02, hspace=0.02, left=0, right=1, bottom=0, top=1)
    save(figure, path, 62)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--exam", help="of the pictures of one exam; the first FDG exam otherwise")
    parser.add_argument("--label", type=int, default=1)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    described = json.loads((options.dataset / "dataset.json").read_text())["exams"]
    lines = [json.loads(line) for line in (options.dataset / "dataset.jsonl").read_text().splitlines()]
    name = options.exam or next(exam["exam"] for exam in described if exam["tracer"] == "FDG")
    answer = next(
        line["answer"]
        for line in lines
        if line["exam"] == name and line["task"] == "finding" and line["label"] == options.label
    )
    exam = Exam.load(options.dataset / "exams" / name)
    draw_exam(exam, answer, options.label, options.out / "phantom-exam.png")
    draw_levels(exam, options.out / "phantom-levels.png")
    draw_tracers(options.dataset, described, options.out / "phantom-tracers.png")


if __name__ == "__main__":
    main()
