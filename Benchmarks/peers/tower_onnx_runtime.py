"""ONNX Runtime on one vision tower of PETAR-4B's shape with random int8 weights: a pass of 2049 tokens.

    python tower_onnx_runtime.py make FILE.onnx       writes the model (93 MB)
    python tower_onnx_runtime.py run FILE.onnx        measures once and prints one JSON object

Attention is the fused MultiHeadAttention; the linear layers are quantized dynamically, per channel, which is the
fastest int8 form there. Needs: onnx, onnxruntime, numpy.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable

import numpy as np
from tower import HEADS, LAYERS, MLP, PATCH, THREADS, TOKENS, WIDTH, measure


def make(path: str) -> None:
    """Patches (2048, 1024) in, normalized tokens (1, 2049, 768) out."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime.quantization import QuantType, quantize_dynamic

    rng = np.random.default_rng(0)
    weights: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def constant(name: str, values: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def node(kind: str, inputs: list[str], outputs: int = 1, **attributes: Any) -> list[str]:
        names = [f"{kind}_{len(nodes)}_{index}" for index in range(outputs)]
        nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names

    def linear(name: str, x: str, inputs: int, outputs: int, bias: bool = True) -> str:
        y = node("MatMul", [x, constant(name + ".weight", rng.standard_normal((inputs, outputs)) * 0.02)])[0]
        return node("Add", [y, constant(name + ".bias", rng.standard_normal(outputs) * 0.02)])[0] if bias else y

    def norm(name: str, x: str) -> str:
        scale, shift = constant(name + ".weight", np.ones(WIDTH)), constant(name + ".bias", np.zeros(WIDTH))
        return node("LayerNormalization", [x, scale, shift], axis=-1, epsilon=1e-5)[0]

    embedded = linear("patch", "x", PATCH, WIDTH)
    embedded = node("Add", [embedded, constant("position", rng.standard_normal((1, TOKENS - 1, WIDTH)) * 0.02)])[0]
    hidden = node("Concat", [constant("class", rng.standard_normal((1, 1, WIDTH)) * 0.02), embedded], axis=1)[0]
    for layer in range(LAYERS):
        name = f"blocks.{layer}."
        qkv = linear(name + "qkv", norm(name + "norm1", hidden), WIDTH, 3 * WIDTH, bias=False)
        q, k, v = node("Split", [qkv], 3, axis=-1, num_outputs=3)
        attended = f"attended_{layer}"
        nodes.append(
            helper.make_node("MultiHeadAttention", [q, k, v], [attended], domain="com.microsoft", num_heads=HEADS)
        )
        hidden = node("Add", [hidden, linear(name + "out", attended, WIDTH, WIDTH)])[0]
        grown = node("Gelu", [linear(name + "mlp_in", norm(name + "norm2", hidden), WIDTH, MLP)])[0]
        hidden = node("Add", [hidden, linear(name + "mlp_out", grown, MLP, WIDTH)])[0]
    last = norm("norm", hidden)

    graph = helper.make_graph(
        nodes,
        "tower",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, TOKENS - 1, PATCH])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [1, TOKENS, WIDTH])],
        weights,
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "tower.onnx"
        onnx.save(model, str(whole))
        quantize_dynamic(
            str(whole),
            path,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=["MatMul"],
            extra_options={"DefaultTensorType": TensorProto.FLOAT},
        )


def run(path: str) -> dict[str, Any]:
    import onnxruntime

    def load() -> Callable[[np.ndarray], object]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return lambda x: session.run(None, {"x": x})

    return measure(f"ONNX Runtime {onnxruntime.__version__} int8", load)


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2])
    else:
        print(json.dumps(run(sys.argv[2])))
