"""What the peers on one vision tower of PETAR-4B's shape share: its sizes, and how a pass is measured."""

from __future__ import annotations

import time
from typing import Any, Callable

import numpy as np

TOKENS, WIDTH, LAYERS, HEADS, MLP, PATCH, THREADS = 2049, 768, 12, 12, 3072, 1024, 2


def measure(peer: str, load: Callable[[], Callable[[np.ndarray], object]]) -> dict[str, Any]:
    """Times ``load`` and, after a first one, two of the passes it returns: patches (1, TOKENS - 1, PATCH) in."""
    start = time.perf_counter()
    infer = load()
    seconds = [time.perf_counter() - start]
    x = np.random.default_rng(1).random((1, TOKENS - 1, PATCH), dtype=np.float32)
    infer(x)
    passes = []
    for _ in range(2):
        start = time.perf_counter()
        infer(x)
        passes.append(time.perf_counter() - start)
    return {"peer": peer, "stages": {"load": seconds, "encode, PET pass": passes}}
