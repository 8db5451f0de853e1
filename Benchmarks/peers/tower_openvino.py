"""OpenVINO on one vision tower of PETAR-4B's shape with random weights, fully quantized: a pass of 2049 tokens.

    python tower_openvino.py make FILE.xml       writes the model and FILE.bin beside it (90 MB)
    python tower_openvino.py run FILE.xml        measures once and prints one JSON object

Weights and activations of the linear layers are int8 (post-training quantization by nncf, for transformers), the rest
is computed in bf16, which is the fastest form there. Needs: openvino, numpy; to make the model, nncf.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Callable

import numpy as np
import openvino
from tower import HEADS, LAYERS, MLP, PATCH, THREADS, TOKENS, WIDTH, measure


def make(path: str) -> None:
    """Patches (1, 2048, 1024) in, normalized tokens (1, 2049, 768) out."""
    import nncf
    from openvino import opset13 as ops

    rng = np.random.default_rng(0)

    def random(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32) * np.float32(0.02)

    def linear(x: openvino.Node, inputs: int, outputs: int, bias: bool = True) -> openvino.Node:
        y = ops.matmul(x, random(outputs, inputs), False, True)
        return ops.add(y, random(1, 1, outputs)) if bias else y

    def norm(x: openvino.Node) -> openvino.Node:
        y = ops.mvn(x, np.array([-1]), True, 1e-5, "inside_sqrt")
        scale, shift = np.ones((1, 1, WIDTH), np.float32), np.zeros((1, 1, WIDTH), np.float32)
        return ops.add(ops.multiply(y, scale), shift)

    def attention(x: openvino.Node) -> openvino.Node:
        heads = ops.reshape(x, np.array([1, TOKENS, 3, HEADS, WIDTH // HEADS]), False)
        split = ops.split(ops.transpose(heads, np.array([2, 0, 3, 1, 4])), np.int64(0), 3)
        q, k, v = (ops.squeeze(part, np.array([0])) for part in split.outputs())
        attended = ops.scaled_dot_product_attention(q, k, v)
        return ops.reshape(ops.transpose(attended, np.array([0, 2, 1, 3])), np.array([1, TOKENS, WIDTH]), False)

    patches = ops.parameter([1, TOKENS - 1, PATCH], np.float32, "x")
    embedded = ops.add(linear(patches, PATCH, WIDTH), random(1, TOKENS - 1, WIDTH))
    hidden = ops.concat([ops.constant(random(1, 1, WIDTH)), embedded], 1)
    for _ in range(LAYERS):
        attended = attention(linear(norm(hidden), WIDTH, 3 * WIDTH, bias=False))
        hidden = ops.add(hidden, linear(attended, WIDTH, WIDTH))
        grown = ops.gelu(linear(norm(hidden), WIDTH, MLP), "erf")
        hidden = ops.add(hidden, linear(grown, MLP, WIDTH))

    model = openvino.Model([norm(hidden)], [patches], "tower")
    samples = nncf.Dataset([rng.random((1, TOKENS - 1, PATCH), dtype=np.float32) for _ in range(2)])
    model = nncf.quantize(model, samples, subset_size=2, model_type=nncf.ModelType.TRANSFORMER)
    openvino.save_model(model, path, compress_to_fp16=False)


def run(path: str) -> dict[str, Any]:
    settings = {
        "INFERENCE_NUM_THREADS": THREADS,
        "INFERENCE_PRECISION_HINT": "bf16",
        "PERFORMANCE_HINT": "LATENCY",
    }

    def load() -> Callable[[np.ndarray], object]:
        request = openvino.Core().compile_model(path, "CPU", settings).create_infer_request()
        return lambda x: request.infer([x])

    return measure(f"OpenVINO {openvino.__version__.split('-')[0]} int8 + bf16", load)


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2])
    else:
        print(json.dumps(run(sys.argv[2])))
