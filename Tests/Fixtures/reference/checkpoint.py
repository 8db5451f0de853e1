"""Checkpoint folders with generated weights, as PETAR and M3D publish theirs. Needs numpy alone.

The weights are integers from splitmix64 turned into floats, so the same folder comes out on every machine and need
not be committed.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

# Rows of the tiny tokenizer: control and byte pieces, 741 pieces of text, added tokens from 1000 on.
TEXT_PIECES = range(259, 1000)
BEGIN_OF_TEXT, END_OF_TEXT, END, IMAGE_TOKEN = 1, 1000, 1001, 1002


@dataclass(frozen=True)
class ModelSpec:
    """The numbers of a small model. Vision heads are 64 wide."""

    seed: int
    family: str  # "phi3" or "llama"
    image: tuple[int, int, int] = (32, 256, 256)
    patch: tuple[int, int, int] = (4, 16, 16)
    pool: int = 2
    vision_width: int = 128
    vision_layers: int = 2
    vision_mlp: int = 256
    qkv_bias: bool = False
    shared_tower: bool = False
    projector: str = "mlp"
    hidden: int = 96
    layers: int = 3
    heads: int = 4
    kv_heads: int = 4
    ffn: int = 160
    vocabulary: int = 1008
    rope_theta: float = 10000.0
    sliding_window: int | None = 2047
    tied: bool = False
    dtype: str = "F32"
    shards: int = 1
    extra: dict[str, object] = field(default_factory=dict)

    @property
    def head_width(self) -> int:
        return self.hidden // self.heads

    @property
    def patches(self) -> int:
        return int(np.prod([i // p for i, p in zip(self.image, self.patch)]))

    @property
    def vision_tokens(self) -> int:
        return int(np.prod([i // p // self.pool for i, p in zip(self.image, self.patch)]))


# ---- Tensors ----------------------------------------------------------------------------------------------------

Spec = tuple[str, tuple[int, ...], str]


def tensor_specs(model: ModelSpec) -> Iterator[Spec]:
    """(name, shape, kind) of every tensor, in the order they are written."""
    yield from decoder_specs(model)
    yield from vision_specs(model)
    yield from projector_specs(model.projector, 2 * model.vision_width, model.hidden)


def decoder_specs(model: ModelSpec) -> Iterator[Spec]:
    width, kv_width = model.hidden, model.kv_heads * model.head_width
    yield "model.embed_tokens.weight", (model.vocabulary, width), "tied" if model.tied else "embedding"
    for layer in range(model.layers):
        at = f"model.layers.{layer}."
        if model.family == "phi3":
            yield at + "self_attn.qkv_proj.weight", (width + 2 * kv_width, width), "query"
            yield at + "mlp.gate_up_proj.weight", (2 * model.ffn, width), "matrix"
        else:
            yield at + "self_attn.q_proj.weight", (width, width), "query"
            yield at + "self_attn.k_proj.weight", (kv_width, width), "query"
            yield at + "self_attn.v_proj.weight", (kv_width, width), "query"
            yield at + "mlp.gate_proj.weight", (model.ffn, width), "matrix"
            yield at + "mlp.up_proj.weight", (model.ffn, width), "matrix"
        yield at + "self_attn.o_proj.weight", (width, width), "out"
        yield at + "mlp.down_proj.weight", (width, model.ffn), "out"
        yield at + "input_layernorm.weight", (width,), "gain"
        yield at + "post_attention_layernorm.weight", (width,), "gain"
    yield "model.norm.weight", (width,), "final gain"
    if not model.tied:
        yield "lm_head.weight", (model.vocabulary, width), "head"


def vision_specs(model: ModelSpec) -> Iterator[Spec]:
    width, voxels = model.vision_width, int(np.prod(model.patch))

    def embedding(at: str, kind: str) -> Iterator[Spec]:
        yield at + "position_embeddings", (1, model.patches, width), "position"
        yield at + "patch_embeddings.1.weight", (width, voxels), kind
        yield at + "patch_embeddings.1.bias", (width,), "bias"

    def norm(at: str) -> Iterator[Spec]:
        yield at + "weight", (width,), "gain"
        yield at + "bias", (width,), "bias"

    for tower in ["vision_tower"] if model.shared_tower else ["vision_tower", "ct_tower"]:
        at = f"model.vision_tower.{tower}."
        if tower == "vision_tower":
            yield at + "cls_token", (1, 1, width), "position"
            yield from embedding(at + "patch_embedding_mask.", "mask patch")
        yield from embedding(at + "patch_embedding.", "patch")
        for layer in range(model.vision_layers):
            block = f"{at}blocks.{layer}."
            yield from norm(block + "norm1.")
            yield block + "attn.qkv.weight", (3 * width, width), "query"
            if model.qkv_bias:
                yield block + "attn.qkv.bias", (3 * width,), "bias"
            yield block + "attn.out_proj.weight", (width, width), "matrix"
            yield block + "attn.out_proj.bias", (width,), "bias"
            yield from norm(block + "norm2.")
            yield block + "mlp.linear1.weight", (model.vision_mlp, width), "matrix"
            yield block + "mlp.linear1.bias", (model.vision_mlp,), "bias"
            yield block + "mlp.linear2.weight", (width, model.vision_mlp), "matrix"
            yield block + "mlp.linear2.bias", (width,), "bias"
        yield from norm(at + "norm.")


def projector_specs(kind: str, inputs: int, outputs: int) -> Iterator[Spec]:
    """Two layers; with "mlp" the GELU between them takes number 1."""
    for number, columns in [(0, inputs), (2 if kind == "mlp" else 1, outputs)]:
        at = f"model.mm_projector.projector.{number}."
        yield at + "weight", (outputs, columns), "matrix"
        yield at + "bias", (outputs,), "bias"


def splitmix64(seed: int, count: int) -> np.ndarray:
    z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def name_seed(seed: int, name: str) -> int:
    """FNV-1a over the name, so that a tensor's values do not depend on the others."""
    value = 0xCBF29CE484222325 ^ seed
    for byte in name.encode():
        value = (value ^ byte) * 0x100000001B3 % (1 << 64)
    return value


def uniform(seed: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """f32 in [-1, 1)."""
    bits = splitmix64(name_seed(seed, name), int(np.prod(shape)))
    return ((bits >> np.uint64(40)).astype(np.float32) / np.float32(1 << 23) - 1).reshape(shape)


# How far from 0 values go; for matrices times sqrt(3 / columns), which keeps the size of what they multiply.
MATRIX_REACH = {"matrix": 1.0, "query": 1.4, "out": 0.9, "patch": 3.0, "mask patch": 9.0}
STEP, HEAD_NOISE = 271, 0.4
VECTOR_REACH = {"bias": 0.1, "gain": 0.3, "position": 0.5, "embedding": 1.9, "tied": 0.2}


def generate(model: ModelSpec, name: str, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """The values of one tensor, f32."""
    values: np.ndarray = uniform(model.seed, name, shape)
    if kind in MATRIX_REACH:
        return values * np.float32(MATRIX_REACH[kind] * np.sqrt(3 / shape[-1]))
    if kind == "head":
        return confident_head(model, values)
    if kind == "tied":
        return quiet(values) * np.float32(VECTOR_REACH["tied"])
    if kind == "final gain" and model.tied:
        # The embedding is the head too: with these signs a token is not its own best successor.
        signed: np.ndarray = np.copysign(np.float32(1), values) + np.float32(VECTOR_REACH["gain"]) * values
        return signed
    if kind in ("gain", "final gain"):
        return 1 + np.float32(VECTOR_REACH["gain"]) * values
    return values * np.float32(VECTOR_REACH[kind])


def confident_head(model: ModelSpec, noise: np.ndarray) -> np.ndarray:
    """Piece i is likely to be followed by the piece STEP rows on, which context can overrule.

    A random network's best two logits lie so close that rounding swaps them; a trained one is mostly sure of itself.
    """
    embedding = uniform(model.seed, "model.embed_tokens.weight", noise.shape)
    pieces = np.array(TEXT_PIECES)
    rows = quiet(noise)
    rows[np.roll(pieces, -STEP)] = embedding[pieces] + np.float32(HEAD_NOISE) * noise[pieces]
    return rows * np.float32(2 * np.sqrt(3 / model.hidden))


def quiet(rows: np.ndarray) -> np.ndarray:
    """Makes the rows that are no pieces of text small: bytes and control tokens would make texts hard to compare."""
    rows = rows.copy()
    rows[: TEXT_PIECES.start] *= np.float32(0.1)
    rows[TEXT_PIECES.stop :] *= np.float32(0.1)
    return rows


# ---- Files ------------------------------------------------------------------------------------------------------


def encode(values: np.ndarray, dtype: str) -> bytes:
    if dtype == "F32":
        return values.astype("<f4").tobytes()
    if dtype == "F16":
        return values.astype("<f2").tobytes()
    bits = values.astype("<f4").view(np.uint32)
    # bf16: round to nearest, ties to even.
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()


def write_safetensors(path: Path, tensors: list[tuple[str, tuple[int, ...], bytes]], dtype: str) -> int:
    """Returns the bytes of tensor data."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape, data in tensors:
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, data in tensors:
            file.write(data)
    return offset


def write_tensors(folder: Path, tensors: list[tuple[str, tuple[int, ...], bytes]], dtype: str, shards: int) -> None:
    if shards == 1:
        write_safetensors(folder / "model.safetensors", tensors, dtype)
        return
    total, weight_map = 0, {}
    for shard in range(shards):
        part = tensors[shard * len(tensors) // shards : (shard + 1) * len(tensors) // shards]
        name = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        total += write_safetensors(folder / name, part, dtype)
        weight_map.update({tensor[0]: name for tensor in part})
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


def vision_config(model: ModelSpec) -> dict[str, object]:
    return {
        "vision_tower": "vit3d",
        "image_channel": 1,
        "image_size": list(model.image),
        "patch_size": list(model.patch),
        "vision_select_layer": -1,
        "vision_select_feature": "patch",
        "mm_projector_type": "spp",
        "mm_hidden_size": model.vision_width,
        "proj_layer_type": model.projector,
        "proj_layer_num": 2,
        "proj_pooling_type": "spatial",
        "proj_pooling_size": model.pool,
        **({"qkv_bias": True} if model.qkv_bias else {}),
    }


def decoder_config(model: ModelSpec) -> dict[str, object]:
    name = "Phi3" if model.family == "phi3" else "Llama"
    return {
        "architectures": [f"Lamed{name}ForCausalLM"],
        "model_type": f"lamed_{model.family}",
        "vocab_size": model.vocabulary,
        "hidden_size": model.hidden,
        "intermediate_size": model.ffn,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads,
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "rope_theta": model.rope_theta,
        "rope_scaling": None,
        "tie_word_embeddings": model.tied,
        "bos_token_id": BEGIN_OF_TEXT,
        "eos_token_id": END_OF_TEXT,
        "pad_token_id": END_OF_TEXT,
        "torch_dtype": {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[model.dtype],
        **(
            {"original_max_position_embeddings": 4096, "sliding_window": model.sliding_window}
            if model.family == "phi3"
            else {"attention_bias": False, "mlp_bias": False}
        ),
    }


def write_checkpoint(model: ModelSpec, folder: Path, tokenizer: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = [
        (name, shape, encode(generate(model, name, shape, kind), model.dtype))
        for name, shape, kind in tensor_specs(model)
    ]
    write_tensors(folder, tensors, model.dtype, model.shards)
    write_config(model, folder)
    copy_tokenizer(tokenizer, folder)


def write_config(model: ModelSpec, folder: Path) -> None:
    write_json(folder / "config.json", {**decoder_config(model), **vision_config(model), **model.extra})
    ids = {"bos_token_id": BEGIN_OF_TEXT, "eos_token_id": [END_OF_TEXT, END], "pad_token_id": END_OF_TEXT}
    write_json(folder / "generation_config.json", {**ids, "max_new_tokens": 256})


def copy_tokenizer(tokenizer: Path, folder: Path) -> None:
    for file in sorted(tokenizer.iterdir()):
        shutil.copyfile(file, folder / file.name)
