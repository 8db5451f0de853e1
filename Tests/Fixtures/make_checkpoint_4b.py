"""Make a checkpoint folder of PETAR-4B's size with random bf16 weights, to measure the converter on. Needs numpy.

    python make_checkpoint_4b.py FOLDER --tokenizer TOKENIZER_MODEL [--shard-gib 2] [--layers 32]

writes about 7.7 GB: the released layout (two vision towers of 12 layers, Phi-3-mini as the decoder) in shards, with
TOKENIZER_MODEL (a Llama SentencePiece model of 32,000 pieces) and PETAR's added tokens. A tensor at a time is in
memory. What the model says is noise; the sizes are real.
"""

from __future__ import annotations

import argparse
import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

WIDTH, VISION_WIDTH, VISION_MLP, VISION_LAYERS = 3072, 768, 3072, 12
FFN, VOCABULARY, PATCH_VOXELS, TOKENS = 8192, 32015, 4 * 16 * 16, 8 * 16 * 16
ADDED = {
    "<|endoftext|>": 32000,
    "<|assistant|>": 32001,
    "<|placeholder1|>": 32002,
    "<|placeholder2|>": 32003,
    "<|placeholder3|>": 32004,
    "<|placeholder4|>": 32005,
    "<|system|>": 32006,
    "<|end|>": 32007,
    "<|placeholder5|>": 32008,
    "<|placeholder6|>": 32009,
    "<|user|>": 32010,
    "<im_patch>": 32011,
    "<bx_start>": 32012,
    "<bx_end>": 32013,
    "[SEG]": 32014,
}

Spec = tuple[str, tuple[int, ...]]


def decoder(layers: int) -> Iterator[Spec]:
    yield "model.embed_tokens.weight", (VOCABULARY, WIDTH)
    for layer in range(layers):
        at = f"model.layers.{layer}."
        yield at + "self_attn.qkv_proj.weight", (3 * WIDTH, WIDTH)
        yield at + "self_attn.o_proj.weight", (WIDTH, WIDTH)
        yield at + "mlp.gate_up_proj.weight", (2 * FFN, WIDTH)
        yield at + "mlp.down_proj.weight", (WIDTH, FFN)
        yield at + "input_layernorm.weight", (WIDTH,)
        yield at + "post_attention_layernorm.weight", (WIDTH,)
    yield "model.norm.weight", (WIDTH,)
    yield "lm_head.weight", (VOCABULARY, WIDTH)


def patches(at: str) -> Iterator[Spec]:
    yield at + "position_embeddings", (1, TOKENS, VISION_WIDTH)
    yield at + "patch_embeddings.1.weight", (VISION_WIDTH, PATCH_VOXELS)
    yield at + "patch_embeddings.1.bias", (VISION_WIDTH,)


def norm(at: str) -> Iterator[Spec]:
    yield at + "weight", (VISION_WIDTH,)
    yield at + "bias", (VISION_WIDTH,)


def tower(at: str) -> Iterator[Spec]:
    yield from patches(at + "patch_embedding.")
    for layer in range(VISION_LAYERS):
        block = f"{at}blocks.{layer}."
        yield from norm(block + "norm1.")
        yield from norm(block + "norm2.")
        yield block + "attn.qkv.weight", (3 * VISION_WIDTH, VISION_WIDTH)
        yield block + "attn.out_proj.weight", (VISION_WIDTH, VISION_WIDTH)
        yield block + "attn.out_proj.bias", (VISION_WIDTH,)
        yield block + "mlp.linear1.weight", (VISION_MLP, VISION_WIDTH)
        yield block + "mlp.linear1.bias", (VISION_MLP,)
        yield block + "mlp.linear2.weight", (VISION_WIDTH, VISION_MLP)
        yield block + "mlp.linear2.bias", (VISION_WIDTH,)
    yield from norm(at + "norm.")


def all_tensors(layers: int) -> Iterator[Spec]:
    yield from decoder(layers)
    yield "model.vision_tower.vision_tower.cls_token", (1, 1, VISION_WIDTH)
    yield from patches("model.vision_tower.vision_tower.patch_embedding_mask.")
    yield from tower("model.vision_tower.vision_tower.")
    yield from tower("model.vision_tower.ct_tower.")
    for place, inputs in [(0, 2 * VISION_WIDTH), (2, WIDTH)]:
        yield f"model.mm_projector.projector.{place}.weight", (WIDTH, inputs)
        yield f"model.mm_projector.projector.{place}.bias", (WIDTH,)


def size(shape: tuple[int, ...]) -> int:
    return 2 * int(np.prod(shape))


def shards(tensors: list[Spec], limit: int) -> list[list[Spec]]:
    groups: list[list[Spec]] = [[]]
    held = 0
    for name, shape in tensors:
        if held and held + size(shape) > limit:
            groups.append([])
            held = 0
        groups[-1].append((name, shape))
        held += size(shape)
    return groups


def bf16(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal values of a trained layer's spread; gains of norms around one would cost nothing more to convert."""
    values = rng.standard_normal(shape, dtype=np.float32) * np.float32(0.02)
    return (values.view(np.uint32) >> np.uint32(16)).astype(np.uint16)


def write_shard(path: Path, tensors: list[Spec], rng: np.random.Generator) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, shape in tensors:
        end = position + size(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        for _, shape in tensors:
            file.write(bf16(rng, shape).tobytes())


def write_settings(folder: Path, layers: int) -> None:
    config = {
        "model_type": "lamed_phi3",
        "hidden_size": WIDTH,
        "intermediate_size": FFN,
        "num_hidden_layers": layers,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "sliding_window": 2047,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "vocab_size": VOCABULARY,
        "image_channel": 1,
        "image_size": [32, 256, 256],
        "patch_size": [4, 16, 16],
        "vision_select_layer": -1,
        "vision_select_feature": "patch",
        "mm_projector_type": "spp",
        "proj_layer_type": "mlp",
        "proj_layer_num": 2,
        "proj_pooling_type": "spatial",
        "proj_pooling_size": 2,
        "torch_dtype": "bfloat16",
        "petar_random_weights": True,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [32000, 32007], "bos_token_id": 1}))
    (folder / "added_tokens.json").write_text(json.dumps(ADDED))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--shard-gib", type=float, default=2)
    parser.add_argument("--layers", type=int, default=32)
    options = parser.parse_args()
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(options.tokenizer, folder / "tokenizer.model")
    write_settings(folder, options.layers)

    groups = shards(list(all_tensors(options.layers)), int(options.shard_gib * 2**30))
    rng = np.random.default_rng(1)
    weight_map: dict[str, str] = {}
    total = 0
    for number, tensors in enumerate(groups, 1):
        name = f"model-{number:05}-of-{len(groups):05}.safetensors"
        write_shard(folder / name, tensors, rng)
        weight_map |= {tensor: name for tensor, _ in tensors}
        total += sum(size(shape) for _, shape in tensors)
        print(f"{name}: {len(tensors)} tensors")
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


if __name__ == "__main__":
    main()
