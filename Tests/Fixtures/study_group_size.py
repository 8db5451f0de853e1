"""Which group size the int8 weights need, on trained weights: SmolLM2-135M, English text, PyTorch.

Simulates symmetric int8 (+-127) weights with one scale for each group of K in a row, and int8 activations with one
scale for each token or for each group of a token, in every linear layer, the head and the embedding. "twice" is int8
of what a first int8 left over, about 15 bits; "rotated" is what q8 files hold: rows and activations go through the
Walsh-Hadamard transform first; "block" is a scale for all that one transform spans. Prints a table:

    python study_group_size.py [--windows 5] [--length 512]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from make_smollm2 import read_windows, transformers_model
from reference.smollm2 import SmolLM2, next_token_losses
from torch.nn import functional

# A group that spans the whole row.
ROW = 1 << 20


def fake_int8(values: torch.Tensor, group: int) -> torch.Tensor:
    """values (..., K) rounded to int8 with a scale for each `group` along K, as f32; the last group may be short."""
    rounded = torch.empty_like(values)
    for start in range(0, values.shape[-1], group):
        part = values[..., start : start + group]
        scale = part.abs().amax(dim=-1, keepdim=True) / 127
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        rounded[..., start : start + group] = torch.round(part / scale).clamp_(-127, 127) * scale
    return rounded


def rotation(values: torch.Tensor) -> int:
    """The widest transform: the largest power of two that divides K."""
    return values.shape[-1] & -values.shape[-1]


def hadamard(values: torch.Tensor) -> torch.Tensor:
    """The orthonormal transform of blocks along K."""
    block = rotation(values)
    result = values.reshape(-1, block)
    distance = 1
    while distance < block:
        pairs = result.reshape(-1, block // (2 * distance), 2, distance)
        first, second = pairs[:, :, 0], pairs[:, :, 1]
        result = torch.stack((first + second, first - second), dim=2)
        distance *= 2
    return result.reshape(values.shape) * block**-0.5


def fake_rotated(values: torch.Tensor, group: int) -> torch.Tensor:
    return hadamard(fake_int8(hadamard(values), group))


def fake_twice(values: torch.Tensor) -> torch.Tensor:
    first = fake_int8(values, ROW)
    return first + fake_int8(values - first, ROW)


Rounding = Callable[[torch.Tensor], torch.Tensor]


@contextmanager
def quantized(model: torch.nn.Module, weights: Rounding | None, activations: Rounding | None) -> Iterator[None]:
    """Weights and inputs of linear layers rounded; None leaves them f32."""
    linears = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    originals = {name: module.weight.data for name, module in linears.items()}
    embedding = model.get_input_embeddings()
    hooks = []
    for module in linears.values():
        if weights is not None:
            module.weight.data = weights(module.weight.data)
        if activations is not None:
            hooks.append(module.register_forward_pre_hook(lambda _, inputs: (activations(inputs[0]), *inputs[1:])))
    embedding.weight = model.get_output_embeddings().weight
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for name, module in linears.items():
            module.weight.data = originals[name]
        embedding.weight = model.get_output_embeddings().weight


@torch.inference_mode()
def run(model: torch.nn.Module, windows: np.ndarray) -> list[torch.Tensor]:
    return [model(torch.from_numpy(window)[None]).logits[0] for window in windows]


def report(name: str, logits: list[torch.Tensor], truth: list[torch.Tensor], windows: np.ndarray) -> None:
    def mean_loss(rows: list[torch.Tensor]) -> float:
        return float(np.mean([next_token_losses(r.numpy(), w).mean() for r, w in zip(rows, windows)]))

    change = 100 * (np.exp(mean_loss(logits) - mean_loss(truth)) - 1)
    cosines = torch.cat([functional.cosine_similarity(a, b, dim=-1) for a, b in zip(logits, truth)])
    same = torch.cat([a.argmax(-1) == b.argmax(-1) for a, b in zip(logits, truth)]).float().mean()
    print(
        f"{name:38s} {np.exp(mean_loss(logits)):9.4f} {change:+8.3f} % {100 * same:8.2f} % "
        f"{cosines.mean():9.6f} {cosines.min():9.6f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    smollm2 = SmolLM2()
    model = transformers_model(smollm2)
    windows = read_windows(smollm2, arguments.windows, arguments.length)
    started = time.monotonic()
    print(f"{windows.size} tokens in windows of {arguments.length}")
    print(
        f"{'weights / activations':38s} {'perplexity':>9s} {'change':>9s} {'same top':>9s} {'cosine':>9s} {'worst':>9s}"
    )
    truth = run(model, windows)
    report("f32 / f32", truth, truth, windows)

    def row(name: str, weights: Rounding | None, activations: Rounding | None) -> None:
        with quantized(model, weights, activations):
            report(name, run(model, windows), truth, windows)

    row("f32 / token", None, partial(fake_int8, group=ROW))
    for group, label in {32: "32", 64: "64", 128: "128", 256: "256", ROW: "row"}.items():
        weights = partial(fake_int8, group=group)
        row(f"group {label} / f32", weights, None)
        row(f"group {label} / token", weights, partial(fake_int8, group=ROW))
        row(f"group {label} / token, twice", weights, fake_twice)
        for part in sorted({16, 32, group}):
            if part <= group < ROW:
                row(f"group {label} / group {part}", weights, partial(fake_int8, group=part))
        rotated = partial(fake_rotated, group=group)
        row(f"rotated, group {label} / f32", rotated, None)
        row(f"rotated, group {label} / group {label}", rotated, rotated)
        row(f"rotated, group {label} / block", rotated, lambda x: fake_rotated(x, rotation(x)))
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
