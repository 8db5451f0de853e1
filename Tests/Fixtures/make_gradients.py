"""Make training.json: losses and gradients of small models by PyTorch autograd, for the tests of PetarTraining.

    python make_gradients.py        torch, transformers, monai, einops, safetensors

Weights and examples come from splitmix64 by name, so the test makes the same ones. Of each gradient its norm and 16
sums of its elements with pseudo-random signs are kept: for two tensors the mean square of the differences of these sums
is an unbiased estimate of the squared norm of their difference.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from reference import checkpoint
from reference.checkpoint import IMAGE_TOKEN, ModelSpec, name_seed, splitmix64, uniform
from reference.petar import Petar
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
SEED = 7
SMALL = {"image": (8, 32, 32), "patch": (4, 8, 8), "vision_width": 128, "vision_mlp": 96}
MODELS = {
    "phi3-two": ModelSpec(SEED, "phi3", **SMALL, hidden=48, layers=2, ffn=40, sliding_window=12, projector="mlp"),
    "llama-shared": ModelSpec(
        SEED,
        "llama",
        **SMALL,
        qkv_bias=True,
        shared_tower=True,
        projector="linear",
        hidden=48,
        layers=2,
        kv_heads=2,
        ffn=40,
        tied=True,
    ),
}
# Tokens of question and answer of each example, begin-of-text and image tokens not counted.
LENGTHS = [(5, 6), (9, 4), (3, 11)]
RANK, ALPHA = 4, 8
STEPS, LEARNING_RATE, WEIGHT_DECAY, LARGEST_NORM = 10, 2e-3, 0.1, 1.0


# ---- Weights and examples ---------------------------------------------------------------------------------------


def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    value = uniform(SEED, name, shape)
    if len(shape) == 2:
        return value * np.float32(np.sqrt(3 / shape[1]))
    if len(shape) == 1 and name.endswith("weight"):
        return 1 + np.float32(0.3) * value
    return np.float32(0.2) * value


def load(model: ModelSpec) -> Petar:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tensors = [(n, s, checkpoint.encode(values(n, s), "F32")) for n, s, _ in checkpoint.tensor_specs(model)]
        checkpoint.write_tensors(folder, tensors, "F32", shards=1)
        checkpoint.write_config(model, folder)
        return Petar(folder)


class Example:
    def __init__(self, index: int, model: ModelSpec) -> None:
        question, answer = LENGTHS[index]
        bits = splitmix64(name_seed(SEED, f"text.{index}"), question + answer)
        text = [int(value >> np.uint64(40)) % 900 + 3 for value in bits]
        self.ids = torch.tensor([1, *[IMAGE_TOKEN] * model.vision_tokens, *text])
        self.answer = answer
        self.views = {}
        for name in ["pet", "mask", "ct", "pet_focal", "mask_focal", "ct_focal"]:
            value = uniform(SEED, f"{name}.{index}", model.image)
            value = (value > 0.5).astype(np.float32) if name.startswith("mask") else (value + 1) / 2
            self.views[name] = torch.from_numpy(value)[None, None]


def mean_loss(model: Petar, examples: list[Example]) -> Tensor:
    """Negative log-likelihood of the answers' tokens, mean over those of all examples."""
    total = torch.zeros(())
    for example in examples:
        v = example.views
        whole = model.towers(v["pet"], v["mask"], v["ct"])
        focal = model.towers(v["pet_focal"], v["mask_focal"], v["ct_focal"])
        embedded = model.decoder.get_input_embeddings()(example.ids).clone()
        embedded[example.ids == IMAGE_TOKEN] = model.projector(whole + focal)[0]
        logits = model.decoder(inputs_embeds=embedded[None], use_cache=False).logits[0]
        wanted = example.ids[-example.answer :]
        total = total + nn.functional.cross_entropy(logits[-example.answer - 1 : -1], wanted, reduction="sum")
    return total / sum(example.answer for example in examples)


def named_parameters(model: Petar) -> Iterator[tuple[str, nn.Parameter]]:
    for prefix, part in [
        ("model.vision_tower.", model.towers),
        ("model.mm_projector.", model.projector),
        ("", model.decoder),
    ]:
        for name, parameter in part.named_parameters():
            if "norm_cross_attn" not in name:
                yield prefix + name, parameter


def adapter_hook(down: Tensor, up: Tensor) -> Callable[[nn.Module, tuple[Tensor], Tensor], Tensor]:
    def add(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        return output + ALPHA / RANK * nn.functional.linear(nn.functional.linear(inputs[0], down), up)

    return add


def add_adapters(model: Petar) -> dict[str, nn.Parameter]:
    adapters = {}
    for name, module in list(model.decoder.named_modules()):
        if isinstance(module, nn.Linear) and name != "lm_head":
            rows, columns = module.weight.shape
            shapes = {"lora_A": (RANK, columns), "lora_B": (rows, RANK)}
            pair = {
                f"{name}.{key}.weight": nn.Parameter(torch.from_numpy(values(f"{name}.{key}.weight", shape)))
                for key, shape in shapes.items()
            }
            adapters.update(pair)
            module.register_forward_hook(adapter_hook(*pair.values()))
    return adapters


# ---- What is kept -----------------------------------------------------------------------------------------------


def digest(name: str, gradient: Tensor) -> dict[str, object]:
    flat = gradient.detach().numpy().astype(np.float64).ravel()
    bits = splitmix64(name_seed(SEED, name), len(flat))
    signs = [1 - 2 * ((bits >> np.uint64(k)) & np.uint64(1)).astype(np.float64) for k in range(16)]
    return {"norm": float(np.linalg.norm(flat)), "sums": [float(flat @ sign) for sign in signs]}


def train(model: Petar, examples: list[Example]) -> list[float]:
    parameters = [parameter for _, parameter in named_parameters(model)]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = mean_loss(model, examples)
        loss.backward()
        losses.append(loss.item())
        nn.utils.clip_grad_norm_(parameters, LARGEST_NORM)
        optimizer.step()
    return losses


def reference(spec: ModelSpec) -> dict[str, object]:
    examples = [Example(index, spec) for index in range(len(LENGTHS))]
    model = load(spec)
    loss = mean_loss(model, examples)
    loss.backward()
    gradients = {name: digest(name, p.grad) for name, p in named_parameters(model) if p.grad is not None}
    losses = train(model, examples)

    model = load(spec)
    adapters = add_adapters(model)
    adapted = mean_loss(model, examples)
    adapted.backward()
    return {
        "loss": loss.item(),
        "gradients": gradients,
        "losses": losses,
        "adapted_loss": adapted.item(),
        "adapter_gradients": {name: digest(name, p.grad) for name, p in adapters.items() if p.grad is not None},
    }


def main() -> None:
    torch.set_num_threads(2)
    file = HERE / "training.json"
    file.write_text(json.dumps({name: reference(spec) for name, spec in MODELS.items()}) + "\n")


if __name__ == "__main__":
    main()
