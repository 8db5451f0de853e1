"""MONAI on one vision tower of PETAR-4B's shape with random f32 weights, as upstream runs it: a pass of 2049 tokens.

    python tower_monai.py run [int8]       measures once and prints one JSON object

With int8, attention is PyTorch's fused one and linear layers are its dynamic int8, the fastest it has.
Needs: monai, einops, torch, numpy.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Callable

import numpy as np
from tower import HEADS, LAYERS, MLP, THREADS, WIDTH, measure

VIEW, PATCH = (32, 256, 256), (4, 16, 16)


def run(form: str = "f32") -> dict[str, Any]:
    import monai
    import torch
    from monai.networks.nets.vit import ViT

    def load() -> Callable[[np.ndarray], object]:
        torch.set_num_threads(THREADS)
        tower = ViT(
            in_channels=1,
            img_size=VIEW,
            patch_size=PATCH,
            hidden_size=WIDTH,
            mlp_dim=MLP,
            num_layers=LAYERS,
            num_heads=HEADS,
            proj_type="perceptron",
            classification=True,
        ).eval()
        if form == "int8":
            for block in tower.blocks:
                block.attn.use_flash_attention = True
            tower = torch.ao.quantization.quantize_dynamic(tower, {torch.nn.Linear}, dtype=torch.qint8)

        def infer(x: np.ndarray) -> object:
            with torch.inference_mode():
                return tower(torch.from_numpy(x).reshape(1, 1, *VIEW))

        return infer

    name = "f32" if form == "f32" else f"on PyTorch {torch.__version__} {form}"
    return measure(f"MONAI {monai.__version__} {name}", load)


if __name__ == "__main__":
    print(json.dumps(run(*sys.argv[2:])))
