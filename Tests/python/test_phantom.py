"""petar-train phantom, read with nibabel: geometry, units, lesions and uptake as the documentation states them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel.affines import apply_affine

EXAMS = 8
TRACERS = ("FDG", "DOTATATE", "fluciclovine", "DCFPyL")
LIVER, SPLEEN, KIDNEYS, AORTA, BRAIN, BLADDER = (5,), (1,), (2, 3), (52,), (90,), (21,)
LUMBAR = tuple(range(27, 32))
GLUTEI = (80, 81)


@dataclass(frozen=True)
class Dataset:
    folder: Path
    lines: list[dict[str, Any]]
    described: dict[str, dict[str, Any]]
    summary: dict[str, Any]

    def image(self, exam: str, name: str) -> Any:
        return nibabel.load(self.folder / "exams" / exam / f"{name}.nii.gz")

    def voxels(self, exam: str, name: str) -> np.ndarray:
        return np.asarray(self.image(exam, name).dataobj)

    def findings(self) -> Iterator[dict[str, Any]]:
        return (line for line in self.lines if line["task"] == "finding")


@pytest.fixture(scope="module")
def dataset(bin_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("phantoms") / "set"
    words = ["phantom", "--exams", str(EXAMS), "--seed", "7", "--out", str(folder), "--json"]
    made = subprocess.run([bin_dir / "petar-train", *words], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    lines = [json.loads(line) for line in (folder / "dataset.jsonl").read_text().splitlines()]
    described = json.loads((folder / "dataset.json").read_text())["exams"]
    return Dataset(folder, lines, {exam["exam"]: exam for exam in described}, json.loads(made.stdout))


def test_the_summary_counts_what_is_there(dataset: Dataset) -> None:
    assert dataset.summary["exams"] == EXAMS == len(dataset.described)
    assert dataset.summary["findings"] == sum(1 for _ in dataset.findings())
    for task in ("attribute", "organ"):
        assert dataset.summary[f"{task}_questions"] == sum(line["task"] == task for line in dataset.lines) > 0


def test_geometry_and_units(dataset: Dataset) -> None:
    for exam in dataset.described:
        pet, ct = dataset.image(exam, "pet"), dataset.image(exam, "ct")
        for image in (pet, ct):
            # RAS, in millimetres, the same by sform and by qform.
            assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
            assert image.header.get_xyzt_units()[0] == "mm"
            np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-3)
        assert all(3 <= size <= 4 for size in pet.header.get_zooms())
        for name in ("lesions", "organs"):
            labels = dataset.image(exam, name)
            assert labels.shape == pet.shape and labels.get_data_dtype() == np.uint8
            np.testing.assert_array_equal(labels.affine, pet.affine)
        # The CT covers the PET's field of view.
        corners = np.array([[0, 0, 0], np.array(pet.shape) - 1])
        inside = apply_affine(np.linalg.inv(ct.affine) @ pet.affine, corners)
        assert (inside[0] > -0.01).all() and (inside[1] < np.array(ct.shape) - 0.99).all()

        suv, hu = dataset.voxels(exam, "pet"), dataset.voxels(exam, "ct")
        assert suv.min() >= 0 and 5 < suv.max() < 128
        assert -1024 <= hu.min() < -980 and 500 < hu.max() <= 3071
        # A body of fat and soft tissue in air.
        assert 0.15 < (hu > -200).mean() < 0.6


def test_lesions_and_lines_agree(dataset: Dataset) -> None:
    shares = []
    for exam, described in dataset.described.items():
        labels = dataset.voxels(exam, "lesions")
        there = set(np.unique(labels)) - {0}
        assert there == set(range(1, described["lesions"] + 1))
        asked = {line["label"] for line in dataset.findings() if line["exam"] == exam}
        assert asked <= there
        shares += [(labels == label).mean() for label in there]
    assert min(shares) >= 1e-4 and max(shares) <= 0.02
    assert np.mean(shares) < 1e-3
    reported = dataset.summary["lesion_share"]
    assert [min(shares), np.mean(shares), max(shares)] == pytest.approx(
        [reported["least"], reported["mean"], reported["greatest"]]
    )


def test_no_patient_is_in_two_splits(dataset: Dataset) -> None:
    splits: dict[str, set[str]] = {}
    for line in dataset.lines:
        splits.setdefault(line["patient"], set()).add(line["split"])
    assert all(len(names) == 1 for names in splits.values())
    assert {name for names in splits.values() for name in names} == {"train", "validation", "test"}


def test_the_words_for_uptake_are_measured(dataset: Dataset) -> None:
    """mild: SUVmax at most the reference's mean; moderate: at most twice that; intense: more."""
    for line in dataset.findings():
        suv, lesions, organs = (dataset.voxels(line["exam"], name) for name in ("pet", "lesions", "organs"))
        tracer = line["attributes"]["tracer"]
        assert tracer == dataset.described[line["exam"]]["tracer"]
        reference = np.isin(organs, LUMBAR if tracer == "fluciclovine" else LIVER) & (lesions == 0)
        ratio = suv[lesions == line["label"]].max() / suv[reference].mean()
        word = "mild" if ratio <= 1 else "moderate" if ratio <= 2 else "intense"
        assert word == line["attributes"]["uptake"], f"{line['exam']} {line['label']}: {ratio}"
        assert f"{word} {tracer} uptake" in line["answer"]


def test_laterality_is_the_side_of_the_mask(dataset: Dataset) -> None:
    sides = set()
    for line in dataset.findings():
        side = line["attributes"]["laterality"]
        sides.add(side)
        if side is None:
            continue
        image = dataset.image(line["exam"], "lesions")
        voxels = np.argwhere(np.asarray(image.dataobj) == line["label"])
        x = apply_affine(image.affine, voxels.mean(axis=0))[0]
        # RAS: x grows to the patient's right. The spine stays within 15 mm of 0.
        assert (x > 0) == (side == "right"), f"{line['exam']} {line['label']}: x = {x}"
    assert sides == {"right", "left", None}


def hounsfield(dataset: Dataset, exam: str) -> np.ndarray:
    """The CT at the middle of each voxel of the organ map."""
    ct, organs = dataset.image(exam, "ct"), dataset.image(exam, "organs")
    places = apply_affine(np.linalg.inv(ct.affine) @ organs.affine, np.argwhere(np.ones(organs.shape, bool)))
    values: np.ndarray = np.asarray(ct.dataobj)[tuple(np.rint(places).astype(int).T)]
    return values.reshape(organs.shape)


def test_organs_lie_where_they_belong(dataset: Dataset) -> None:
    """x grows to the patient's right, z to the head; TotalSegmentator's numbers."""
    for exam in dataset.described:
        image = dataset.image(exam, "organs")
        organs = np.asarray(image.dataobj)

        def middle(*labels: int, organs: np.ndarray = organs, affine: np.ndarray = image.affine) -> np.ndarray:
            voxels = np.argwhere(np.isin(organs, labels))
            assert len(voxels) > 0, labels
            return np.asarray(apply_affine(affine, voxels.mean(axis=0)))

        for right, left in ((LIVER, SPLEEN), (KIDNEYS[:1], KIDNEYS[1:]), ((12, 13, 14), (10, 11)), ((78,), (77,))):
            assert middle(*right)[0] > 0 > middle(*left)[0], f"{exam}: {right}, {left}"
        spine = [middle(label)[2] for label in range(27, 51)]
        assert spine == sorted(spine), f"{exam}: L5 to C1"
        upwards = [middle(*labels)[2] for labels in (BLADDER, KIDNEYS, LIVER, (51,), (17,), BRAIN)]
        assert upwards == sorted(upwards), f"{exam}: bladder, kidneys, liver, heart, thyroid, brain"


def test_tissues_have_plausible_densities(dataset: Dataset) -> None:
    """Medians in HU: parenchyma with or without contrast, air and blood, marrow with its cortex, fat."""
    for exam in dataset.described:
        organs, lesions = dataset.voxels(exam, "organs"), dataset.voxels(exam, "lesions")
        values = hounsfield(dataset, exam)
        ranges = {LIVER: (30, 140), SPLEEN: (30, 160), (10, 11, 12, 13, 14): (-950, -700), LUMBAR: (100, 500)}
        for labels, (low, high) in ranges.items():
            median = np.median(values[np.isin(organs, labels) & (lesions == 0)])
            assert low < median < high, f"{exam}: {labels}, {median} HU"
        # Fat is what is left of the body between air and water.
        rest = values[(organs == 0) & (lesions == 0)]
        fat = rest[(rest > -250) & (rest < -20)]
        assert len(fat) > 0.05 * len(rest) and -130 < np.median(fat) < -70, f"{exam}: {np.median(fat)} HU"


def test_ct_correlates_are_on_the_ct(dataset: Dataset) -> None:
    """Medians over the lesion's middle, where noise and borders do not reach."""
    seen = 0
    for line in dataset.findings():
        word = line["attributes"]["ct"]
        wanted = {"lytic": (0, 110), "sclerotic": (500, 900), "enlarged node": (0, 110), "hypodense": (-30, 60)}
        if word not in wanted:
            continue
        masks, ct = dataset.image(line["exam"], "lesions"), dataset.image(line["exam"], "ct")
        voxels = np.argwhere(np.asarray(masks.dataobj) == line["label"])
        middle = voxels[np.linalg.norm((voxels - voxels.mean(axis=0)) * masks.header.get_zooms(), axis=1) < 7]
        places = apply_affine(np.linalg.inv(ct.affine) @ masks.affine, middle)
        values = np.asarray(ct.dataobj)[tuple(np.rint(places).astype(int).T)]
        low, high = wanted[word]
        assert low < np.median(values) < high, f"{line['exam']} {line['label']}: {word}, {np.median(values)} HU"
        seen += 1
    assert seen > 3


# Mean SUV on the PET of a whole organ: the table's mean and two standard deviations of its spread, widened downwards
# for what blurring takes from small organs.
RANGES = {
    "FDG": {LIVER: (1.6, 3.6), BRAIN: (4, 14), AORTA: (1.1, 2.6), GLUTEI: (0.4, 1.1)},
    "DOTATATE": {LIVER: (4.5, 9.5), SPLEEN: (11, 36), BRAIN: (0.05, 0.4), KIDNEYS: (7, 24)},
    "fluciclovine": {LIVER: (6.5, 14), LUMBAR: (1.8, 5), BRAIN: (0.2, 0.8), BLADDER: (0.8, 6)},
    "DCFPyL": {LIVER: (4, 9), KIDNEYS: (15, 48), BRAIN: (0.05, 0.4), SPLEEN: (2.8, 8)},
}


def test_each_tracer_has_its_own_biodistribution(dataset: Dataset) -> None:
    assert {exam["tracer"] for exam in dataset.described.values()} == set(TRACERS)
    for exam, described in dataset.described.items():
        suv, lesions, organs = (dataset.voxels(exam, name) for name in ("pet", "lesions", "organs"))
        for labels, (low, high) in RANGES[described["tracer"]].items():
            organ = np.isin(organs, labels) & (lesions == 0)
            assert organ.sum() > 50
            assert low < suv[organ].mean() < high, f"{exam}: {described['tracer']} in {labels}"


def test_organs_have_plausible_sizes(dataset: Dataset) -> None:
    """Millilitres. What lies partly outside the field of view (femora, humeri, skull) is left out."""
    ranges = {
        LIVER: (900, 2400), SPLEEN: (90, 400), KIDNEYS: (180, 480), (10, 11): (1000, 3600), (12, 13, 14): (1200, 4200),
        (51,): (300, 900), AORTA: (120, 420), (6,): (120, 600), (20,): (250, 1400), (77, 78): (300, 1300),
    }  # fmt: skip
    for exam in dataset.described:
        image = dataset.image(exam, "organs")
        organs = np.asarray(image.dataobj)
        millilitres = float(np.prod(image.header.get_zooms())) / 1000
        for labels, (low, high) in ranges.items():
            assert low < np.isin(organs, labels).sum() * millilitres < high, f"{exam}: {labels}"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--exams", "2", "--seed", "1"],
        ["--exams", "0", "--seed", "1", "--out", "set"],
        ["--exams", "2", "--seed", "-1", "--out", "set"],
        ["--exams", "2", "--seed", "1", "--out", "set", "--split", "exam"],
        ["--exams", "2", "--seed", "1", "--out", "set", "--size", "3"],
    ],
)
def test_wrong_usage(bin_dir: Path, tmp_path: Path, words: list[str]) -> None:
    made = subprocess.run([bin_dir / "petar-train", "phantom", *words], capture_output=True, text=True, cwd=tmp_path)
    assert made.returncode == 2
    assert made.stderr.startswith("petar-train: ") and "--help" in made.stderr
    assert not list(tmp_path.iterdir())


def test_help_and_a_folder_that_cannot_be_made(bin_dir: Path, tmp_path: Path) -> None:
    told = subprocess.run([bin_dir / "petar-train", "phantom", "--help"], capture_output=True, text=True)
    assert told.returncode == 0 and "dataset.jsonl" in told.stdout
    words = ["--exams", "1", "--seed", "1", "--out", str(tmp_path / "nowhere" / "set")]
    made = subprocess.run([bin_dir / "petar-train", "phantom", *words], capture_output=True, text=True)
    assert made.returncode == 4 and "nowhere" in made.stderr
