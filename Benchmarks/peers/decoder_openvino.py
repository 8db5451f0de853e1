"""OpenVINO on a decoder of Phi-3-mini's shape with random int8 weights: prefill and decode of one text, steps of eight.

    python decoder_openvino.py make FILE.xml       writes the model and FILE.bin beside it (4 GB)
    python decoder_openvino.py run FILE.xml [N]    measures once and prints one JSON object

Activations are quantized in groups of N (OpenVINO's default is 32; larger groups read prompts faster, less exactly).
The graph is modelled on OpenVINO's own export of a language model: weights int8 with a scale for each output, keys and
values kept in the model's state, attention fused with them; the head reads the last position only. Needs: openvino,
numpy; 8 GB of memory.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import openvino

LAYERS, WIDTH, HEADS, FFN, VOCABULARY = 32, 3072, 32, 8192, 32064
POSITIONS, TOKENS, TEXTS, STEPS, THREADS = 290, 60, 8, 10, 2
HEAD = WIDTH // HEADS


def make(path: str) -> None:
    """Weights are windows into one pool of numbers: what is in them does not change the time."""
    from openvino import opset13 as ops
    from openvino.op.util import Variable, VariableInfo

    rng = np.random.default_rng(0)
    pool = rng.integers(-127, 128, VOCABULARY * WIDTH + (1 << 20), dtype=np.int8)
    norm = np.ones((1, 1, WIDTH), np.float32)

    def matrix(rows: int, columns: int) -> openvino.Node:
        start = int(rng.integers(0, pool.size - rows * columns))
        values = ops.constant(pool[start : start + rows * columns].reshape(rows, columns), shared_memory=True)
        scales = ops.constant(np.full((rows, 1), 0.02 / 73, np.float16))
        return ops.convert(ops.multiply(ops.convert(values, np.float16), scales), np.float32)

    def linear(x: openvino.Node, inputs: int, outputs: int) -> openvino.Node:
        return ops.matmul(x, matrix(outputs, inputs), False, True)

    def rms(x: openvino.Node) -> openvino.Node:
        mean = ops.reduce_mean(ops.power(x, np.float32(2)), np.array([-1]), True)
        return ops.multiply(norm, ops.multiply(x, ops.divide(np.float32(1), ops.sqrt(ops.add(mean, np.float32(1e-5))))))

    def heads(x: openvino.Output) -> openvino.Node:
        return ops.transpose(ops.reshape(x, np.array([0, 0, HEADS, HEAD]), True), np.array([0, 2, 1, 3]))

    def rotated(x: openvino.Node) -> openvino.Node:
        first, second = ops.variadic_split(x, np.int64(3), np.array([HEAD // 2, HEAD // 2])).outputs()
        turned = ops.concat([ops.multiply(second, np.float32(-1)), first], 3)
        return ops.add(ops.multiply(x, cosines), ops.multiply(turned, sines))

    tokens = ops.parameter([-1, -1], np.int64, "tokens")
    positions = ops.parameter([-1, -1], np.int64, "positions")
    mask = ops.parameter([1, 1, -1, -1], np.float32, "mask")
    texts = ops.parameter([-1], np.int32, "texts")
    batch = ops.shape_of(texts, "i64")
    no_past = ops.concat([batch, np.array([HEADS, 0, HEAD])], 0)

    frequencies = (10000.0 ** (-np.arange(0, HEAD, 2) / HEAD)).astype(np.float32)
    angles = ops.multiply(ops.unsqueeze(ops.convert(positions, np.float32), np.array([1, 3])), frequencies)
    angles = ops.concat([angles, angles], 3)
    cosines, sines = ops.cos(angles), ops.sin(angles)

    states = []

    def remembered(x: openvino.Node, name: str) -> openvino.Node:
        info = VariableInfo()
        info.data_shape = openvino.PartialShape([-1, HEADS, -1, HEAD])
        info.data_type = openvino.Type.f32
        info.variable_id = name
        variable = Variable(info)
        past = ops.read_value(ops.broadcast(np.float32(0), no_past), variable)
        whole = ops.concat([ops.gather(past, texts, np.int64(0)), x], 2)
        states.append(ops.assign(whole, variable))
        return whole

    hidden = ops.gather(matrix(VOCABULARY, WIDTH), tokens, np.int64(0))
    for layer in range(LAYERS):
        qkv = linear(rms(hidden), WIDTH, 3 * WIDTH)
        q, k, v = ops.variadic_split(qkv, np.int64(2), np.array([WIDTH] * 3)).outputs()
        keys, values = remembered(rotated(heads(k)), f"{layer}.keys"), remembered(heads(v), f"{layer}.values")
        attended = ops.scaled_dot_product_attention(rotated(heads(q)), keys, values, mask)
        joined = ops.reshape(ops.transpose(attended, np.array([0, 2, 1, 3])), np.array([0, 0, WIDTH]), True)
        hidden = ops.add(hidden, linear(joined, WIDTH, WIDTH))
        both = linear(rms(hidden), WIDTH, 2 * FFN)
        gate, up = ops.variadic_split(both, np.int64(2), np.array([FFN, FFN])).outputs()
        hidden = ops.add(hidden, linear(ops.multiply(ops.swish(gate), up), FFN, WIDTH))
    last = ops.gather(rms(hidden), np.array([-1]), np.int64(1))
    logits = ops.result(linear(last, WIDTH, VOCABULARY))

    model = openvino.Model([logits], states, [tokens, positions, mask, texts], "decoder")
    openvino.save_model(model, path, compress_to_fp16=False)


def run(path: str, group: int = 32) -> dict[str, Any]:
    settings = {
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": group,
        "INFERENCE_NUM_THREADS": THREADS,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    start = time.perf_counter()
    request = openvino.Core().compile_model(path, "CPU", settings).create_infer_request()
    load = time.perf_counter() - start

    def read(tokens: np.ndarray, past: int, branching: bool = False) -> tuple[float, np.ndarray]:
        """`branching`: every text goes on from the first."""
        texts, count = tokens.shape
        positions = np.arange(past, past + count)
        hidden = positions[:, None] < np.arange(past + count)
        inputs = [
            tokens,
            np.tile(positions, (texts, 1)),
            np.where(hidden, np.finfo(np.float32).min, np.float32(0))[None, None],
            np.zeros(texts, np.int32) if branching else np.arange(texts, dtype=np.int32),
        ]
        begin = time.perf_counter()
        logits = request.infer(inputs, share_outputs=True)[0]
        return time.perf_counter() - begin, logits

    rng = np.random.default_rng(1)
    prompt = rng.integers(300, 31000, (1, POSITIONS))
    read(prompt, 0)  # the first run touches every weight for the first time
    request.reset_state()
    prefill, logits = read(prompt, 0)
    decode, steps = [], []
    for index in range(TOKENS - 1):
        seconds, logits = read(logits[:, -1].argmax(-1, keepdims=True), POSITIONS + index)
        decode.append(seconds)
    request.reset_state()
    read(prompt, 0)
    tokens = rng.integers(300, 31000, (TEXTS, 1))
    for index in range(STEPS + 1):
        seconds, logits = read(tokens, POSITIONS + index, branching=index == 0)
        tokens = logits[:, -1].argmax(-1, keepdims=True)
        steps.append(seconds)
    return {
        "peer": f"OpenVINO {openvino.__version__.split('-')[0]} int8 weights, groups of {group}",
        "stages": {
            "load": [load],
            f"prefill, {POSITIONS} positions": [prefill],
            "decode, batch 1": decode,
            f"step of {TEXTS} texts": steps[1:],
        },
    }


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2])
    else:
        print(json.dumps(run(sys.argv[2], *map(int, sys.argv[3:]))))
