"""Against PyTorch: what Tests/Fixtures/make_models.py computed on the same weights.

The references are f32 on the CPU. Both sides sum in f32 but in another order, over rows of at most a few thousand
terms and a few layers: 1e-3 of the largest value is far above that noise and far below any wrong formula.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import petar
import pytest
from conftest import Exam
from numpy.typing import NDArray

NAMES = ["phi3-two", "llama-shared", "small-views"]


@dataclass(frozen=True)
class Case:
    """A model and what PyTorch says of the exam with the same checkpoint."""

    name: str
    model: petar.Model
    reference: Any
    exam: Exam

    @property
    def label(self) -> int:
        return int(self.reference["label"])

    def encode(self) -> NDArray[np.float32]:
        return self.model.encode(self.exam.pet, self.exam.ct, self.exam.lesions, label=self.label)

    def teacher_forced(self) -> NDArray[np.float32]:
        """Logits for each of the reference's tokens, given those before it."""
        tokens = self.reference["tokens"]
        ids = [*self.reference["prompt"], *tokens[:-1]]
        return self.model.logits(ids, self.encode(), last=len(tokens))


def open_case(name: str, weights: str, root: Path, models_dir: Path, exam: Exam) -> Case:
    reference = np.load(root / "Tests" / "Fixtures" / "models" / f"{name}.npz")
    return Case(name, petar.Model(models_dir / f"{name}-{weights}.petar"), reference, exam)


@pytest.fixture(scope="module", params=NAMES)
def exact(request: pytest.FixtureRequest, root: Path, models_dir: Path, exam: Exam) -> Iterator[Case]:
    case = open_case(request.param, "f32", root, models_dir, exam)
    with case.model:
        yield case


@pytest.fixture(scope="module", params=NAMES)
def quantized(request: pytest.FixtureRequest, root: Path, models_dir: Path, exam: Exam) -> Iterator[Case]:
    case = open_case(request.param, "q8", root, models_dir, exam)
    with case.model:
        yield case


def largest_difference(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    """Relative to the largest value."""
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def cosines(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Row by row."""
    a, b = np.atleast_2d(ours).astype(np.float64), np.atleast_2d(theirs).astype(np.float64)
    products: NDArray[np.float64] = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return products


def test_prompt_is_the_same(exact: Case) -> None:
    assert exact.model.prompt(str(exact.reference["question"])) == exact.reference["prompt"].tolist()


def test_vision_tokens_are_within_a_thousandth(exact: Case) -> None:
    difference = largest_difference(exact.encode(), exact.reference["vision"])
    print(f"{exact.name}: vision tokens differ by {difference:.1e}")
    assert difference < 1e-3


def test_logits_are_within_a_thousandth(exact: Case) -> None:
    vision = exact.reference["vision"]
    theirs = exact.reference["logits"]
    ours = exact.model.logits(exact.reference["prompt"], vision)[0]
    end_to_end = exact.model.logits(exact.reference["prompt"], exact.encode())[0]
    for logits in (ours, end_to_end):
        print(f"{exact.name}: logits differ by {np.abs(logits - theirs).max():.1e}")
        assert np.abs(logits - theirs).max() < 1e-3


def test_greedy_tokens_are_identical(exact: Case) -> None:
    tokens = exact.reference["tokens"].tolist()
    assert len(tokens) == 48
    finding = exact.model.describe(
        exact.exam.pet,
        exact.exam.ct,
        exact.exam.lesions,
        label=exact.label,
        question=str(exact.reference["question"]),
        max_tokens=len(tokens),
    )
    assert list(finding.tokens) == tokens
    assert finding.text == str(exact.reference["text"])


def test_quantized_vision_tokens_and_logits_point_the_same_way(quantized: Case) -> None:
    """Weights and activations are each off by 0.6 percent. Through all layers that makes 3 percent, which is a cosine
    of 0.9996; 0.999 is 4.5 percent."""
    vision = cosines(quantized.encode(), quantized.reference["vision"])
    logits = cosines(quantized.teacher_forced()[:1], quantized.reference["logits"])
    print(f"{quantized.name}: q8 cosines, vision {vision.min():.5f}, logits {logits.min():.5f}")
    assert vision.min() >= 0.999
    assert logits.min() >= 0.999


def test_quantized_models_choose_the_same_token(root: Path, models_dir: Path, exam: Exam) -> None:
    """All of 144. With random weights the second likeliest is sometimes close: four may change places."""
    same = []
    for name in NAMES:
        case = open_case(name, "q8", root, models_dir, exam)
        with case.model:
            same.append(case.teacher_forced().argmax(1) == case.reference["tokens"])
    agreement = float(np.concatenate(same).mean())
    print(f"q8: the same top token in {agreement:.1%} of teacher-forced positions")
    assert agreement >= 0.97


def test_q4_points_the_same_way(root: Path, models_dir: Path, exam: Exam) -> None:
    """Only the decoder's layers are q4; towers and projector are q8. Each of its twelve matrices is off by 6 percent.
    Together, beside the residual, that makes a tenth of the logits, which is a cosine of 0.995 (0.9947 here); 0.99 is a
    seventh."""
    case = open_case("phi3-two", "q4", root, models_dir, exam)
    with case.model:
        assert case.model.metadata["weights"] == "q4"
        vision = cosines(case.encode(), case.reference["vision"])
        logits = cosines(case.teacher_forced()[:1], case.reference["logits"])
    print(f"q4 cosines, vision {vision.min():.5f}, logits {logits.min():.5f}")
    assert vision.min() >= 0.999
    assert logits.min() >= 0.99
