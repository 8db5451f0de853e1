"""MONAI on one vision tower of PETAR-4B's shape with random f32 weights, as upstream runs it: a pass of 2049 tokens.

    python tower_monai.py run                          measures once and prints one JSON object

Needs: monai, einops, torch, numpy.
"""

from __future__ import annotations

import json
from typing import Any, Callable

import numpy as np
from tower import HEADS, LAYERS, MLP, THREADS, WIDTH, measure

VIEW, PATCH = (32, 256, 256), (4, 16, 16)


def run() -> dict[str, Any]:
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

        def infer(x: np.ndarray) -> object:
            with torch.inference_mode():
                return tower(torch.from_numpy(x).reshape(1, 1, *VIEW))

        return infer

    return measure(f"MONAI {monai.__version__} f32", load)


if __name__ == "__main__":
    print(json.dumps(run()))
