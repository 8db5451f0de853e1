"""Which group size the int8 weights need, on trained weights: SmolLM2-135M, English text, PyTorch.

Simulates symmetric int8 (+-127) weights with one scale for each group of K in a row, and int8 activations with one
scale for each token or for each group of a token, in every linear layer, the head and the embedding. Prints a table:

    python study_group_size.py [--windows 8] [--length 512]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
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


@contextmanager
def quantized(
    model: torch.nn.Module, group: int | None, activations: int | None, keep: tuple[str, ...] = ()
) -> Iterator[None]:
    """Weights in groups of `group`, inputs of linear layers in groups of `activations`; None leaves them f32.

    Modules whose name ends in one of `keep` keep f32 inputs.
    """
    linears = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    originals = {name: module.weight.data for name, module in linears.items()}
    embedding = model.get_input_embeddings()
    hooks = []
    for name, module in linears.items():
        if group is not None:
            module.weight.data = fake_int8(module.weight.data, group)
        if activations is not None and not name.endswith(keep or ("\0",)):
            hooks.append(
                module.register_forward_pre_hook(lambda _, inputs: (fake_int8(inputs[0], activations), *inputs[1:]))
            )
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
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    smollm2 = SmolLM2()
    model = smollm2.transformers_model()
    windows = smollm2.windows(arguments.windows, arguments.length)
    started = time.monotonic()
    print(f"{windows.size} tokens in windows of {arguments.length}")
    print(f"{'weights / activations':38s} {'perplexity':>9s} {'change':>9s} {'same top':>9s} {'cosine':>9s} {'worst':>9s}")
    truth = run(model, windows)
    report("f32 / f32", truth, truth, windows)

    def row(name: str, group: int | None, activations: int | None, keep: tuple[str, ...] = ()) -> None:
        with quantized(model, group, activations, keep):
            report(name, run(model, windows), truth, windows)

    label = {32: "32", 64: "64", 128: "128", 256: "256", ROW: "row"}
    for group in label:
        row(f"group {label[group]} / f32", group, None)
    row("f32 / token", None, ROW)
    for group in label:
        row(f"group {label[group]} / token", group, ROW)
    for group in label:
        if group != ROW:
            row(f"group {label[group]} / token and group", group, group)
    row("group 64 / token, down_proj f32", 64, ROW, keep=("down_proj",))
    row("group 64 / token, head f32", 64, ROW, keep=("lm_head",))
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
