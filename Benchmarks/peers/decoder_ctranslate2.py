"""CTranslate2 on a decoder of Phi-3-mini's shape, random int8 weights: prefill and decode of one text.

    python decoder_ctranslate2.py make DIR      writes the model (4 GB)
    python decoder_ctranslate2.py run DIR       measures once and prints one JSON object

Weights are int8 with a scale for each output, activations int8 with a scale for each row (compute type int8).
Needs: ctranslate2, numpy; 5 GB of memory.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from ctranslate2.specs import common_spec, transformer_spec

LAYERS, WIDTH, HEADS, FFN, VOCABULARY = 32, 3072, 32, 8192, 32064
POSITIONS, TOKENS, THREADS = 290, 60, 2


def make(folder: str) -> None:
    """Weights are windows into one pool of numbers: what is in them does not change the time."""
    rng = np.random.default_rng(0)
    pool = rng.integers(-127, 128, VOCABULARY * WIDTH + (1 << 20), dtype=np.int8)

    def set_matrix(layer: Any, rows: int, columns: int) -> None:
        start = int(rng.integers(0, pool.size - rows * columns))
        layer.weight = pool[start : start + rows * columns].reshape(rows, columns)
        # A weight is its integer divided by this.
        layer.weight_scale = np.full(rows, 73 / 0.02, np.float32)

    spec = transformer_spec.TransformerDecoderModelSpec.from_config(
        LAYERS,
        HEADS,
        activation=common_spec.Activation.SWISH,
        pre_norm=True,
        ffn_glu=True,
        rms_norm=True,
        rotary_dim=0,
        rotary_interleave=False,
        rotary_base=10000,
    )
    ones = np.ones(WIDTH, np.float32)
    decoder = spec.decoder
    decoder.scale_embeddings = False
    set_matrix(decoder.embeddings, VOCABULARY, WIDTH)
    set_matrix(decoder.projection, VOCABULARY, WIDTH)
    decoder.layer_norm.gamma = ones
    for layer in decoder.layer:
        layer.self_attention.layer_norm.gamma = ones
        layer.ffn.layer_norm.gamma = ones
        set_matrix(layer.self_attention.linear[0], 3 * WIDTH, WIDTH)
        set_matrix(layer.self_attention.linear[1], WIDTH, WIDTH)
        set_matrix(layer.ffn.linear_0, FFN, WIDTH)
        set_matrix(layer.ffn.linear_0_noact, FFN, WIDTH)
        set_matrix(layer.ffn.linear_1, WIDTH, FFN)
    spec.register_vocabulary(["<unk>", "<s>", "</s>"] + [f"t{index}" for index in range(3, VOCABULARY)])
    spec.config.layer_norm_epsilon = 1e-5
    spec.validate()
    Path(folder).mkdir(parents=True)
    spec.save(folder)


def run(folder: str) -> dict[str, Any]:
    start = time.perf_counter()
    model = ctranslate2.Generator(folder, device="cpu", compute_type="int8", intra_threads=THREADS, inter_threads=1)
    load = time.perf_counter() - start
    rng = np.random.default_rng(1)

    def generate(tokens: int) -> list[float]:
        """Seconds from the start to each token after a random prompt."""
        times: list[float] = []

        def heard(_: ctranslate2.GenerationStepResult) -> bool:
            times.append(time.perf_counter() - begin)
            return False

        prompt = [f"t{token}" for token in rng.integers(300, 31000, POSITIONS)]
        begin = time.perf_counter()
        model.generate_batch(
            [prompt],
            min_length=tokens,
            max_length=tokens,
            beam_size=1,
            sampling_topk=1,
            end_token=[],
            include_prompt_in_result=False,
            callback=heard,
        )
        return times

    generate(1)  # the first run touches every weight for the first time
    times = generate(TOKENS)
    return {
        "peer": f"CTranslate2 {ctranslate2.__version__} int8",
        "stages": {
            "load": [load],
            f"prefill, {POSITIONS} positions": [times[0]],
            "decode, batch 1": np.diff(times).tolist(),
        },
    }


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2])
    else:
        print(json.dumps(run(sys.argv[2])))
