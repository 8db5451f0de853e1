"""transformers on a decoder of Phi-3-mini's shape, random weights in PyTorch's dynamic int8: prefill and decode.

    python decoder_torch.py run     measures once and prints one JSON object

Weights are int8 with a scale for each matrix, activations int8 with a scale for each call (engine x86, PyTorch's own
choice and the fastest). There is no file: weights are made and packed before each run, which takes two minutes.
Needs: torch, transformers, numpy; 6 GB of memory.
"""

from __future__ import annotations

import json
import time
import warnings
from typing import Any

import torch
import transformers
from torch import nn

LAYERS, WIDTH, HEADS, FFN, VOCABULARY = 32, 3072, 32, 8192, 32064
POSITIONS, TOKENS, THREADS = 290, 60, 2


def decoder() -> nn.Module:
    """Layer by layer, from one pool of numbers: the f32 weights of all would not fit."""
    pool = torch.randn(VOCABULARY * WIDTH) * 0.02
    with torch.device("meta"):
        model = transformers.Phi3ForCausalLM(
            transformers.Phi3Config(
                hidden_size=WIDTH,
                num_hidden_layers=LAYERS,
                num_attention_heads=HEADS,
                num_key_value_heads=HEADS,
                intermediate_size=FFN,
                vocab_size=VOCABULARY,
                max_position_embeddings=4096,
                sliding_window=None,
            )
        )
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                child.weight = nn.Parameter(pool[: child.weight.numel()].view(child.weight.shape))
                linear = torch.ao.quantization.quantize_dynamic(nn.Sequential(child), {nn.Linear}, dtype=torch.qint8)
                setattr(parent, name, linear[0])
            elif next(child.children(), None) is None:
                child.to_empty(device="cpu")
                for parameter in child.parameters():
                    nn.init.normal_(parameter, 1, 0.02)
    model.model.rotary_emb = type(model.model.rotary_emb)(model.config)
    return model.eval()


def run() -> dict[str, Any]:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(THREADS)
    model = decoder()
    prompt = torch.randint(300, 31000, (1, POSITIONS), generator=torch.Generator().manual_seed(1))

    def generate(tokens: int) -> list[float]:
        """Seconds that each token took; the first is the prompt's."""
        times: list[float] = []
        read, cache = prompt, None
        for _ in range(tokens):
            start = time.perf_counter()
            result = model(read, past_key_values=cache, use_cache=True, logits_to_keep=1)
            read, cache = result.logits[:, -1:].argmax(-1), result.past_key_values
            times.append(time.perf_counter() - start)
        return times

    with torch.inference_mode():
        generate(1)  # the first run touches every weight for the first time
        times = generate(TOKENS)
    return {
        "peer": f"PyTorch {torch.__version__} dynamic int8",
        "stages": {f"prefill, {POSITIONS} positions": times[:1], "decode, batch 1": times[1:]},
    }


if __name__ == "__main__":
    print(json.dumps(run()))
