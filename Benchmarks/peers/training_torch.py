"""A training step of the model of `petar-train bench` in PyTorch: forward, backward, AdamW; f32.

    python training_torch.py [--threads 2] [--steps 10] [--ours build/bin/petar-train]

Fused attention (scaled_dot_product_attention), everything else as PyTorch users write it. With --ours the two run in
turn, three rounds, and the ratio of the medians is printed for each.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import time

import torch
from torch import Tensor, nn
from torch.nn import functional

BATCH, TEXT, VOCABULARY, WIDTH, HEADS, FFN, LAYERS = 8, 64, 2048, 256, 8, 1024, 6
VIEW, PATCH, GRID = (16, 64, 64), (4, 8, 8), (4, 8, 8)
VISION_WIDTH, VISION_HEADS, VISION_MLP, VISION_LAYERS, VISION_TOKENS = 192, 6, 768, 6, 32


def attend(qkv: Tensor, heads: int, rotary: tuple[Tensor, Tensor] | None = None) -> Tensor:
    batch, rows, width = qkv.shape
    q, k, v = qkv.view(batch, rows, 3, heads, width // 3 // heads).permute(2, 0, 3, 1, 4).unbind(0)
    if rotary is not None:
        q, k = (x * rotary[0] + torch.cat([-x.chunk(2, -1)[1], x.chunk(2, -1)[0]], -1) * rotary[1] for x in (q, k))
    out = functional.scaled_dot_product_attention(q, k, v, is_causal=rotary is not None)
    return out.transpose(1, 2).reshape(batch, rows, width // 3)


class VisionBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(VISION_WIDTH), nn.LayerNorm(VISION_WIDTH)
        self.qkv = nn.Linear(VISION_WIDTH, 3 * VISION_WIDTH, bias=False)
        self.out = nn.Linear(VISION_WIDTH, VISION_WIDTH)
        self.mlp = nn.Sequential(nn.Linear(VISION_WIDTH, VISION_MLP), nn.GELU(), nn.Linear(VISION_MLP, VISION_WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.out(attend(self.qkv(self.norm1(x)), VISION_HEADS))
        return x + self.mlp(self.norm2(x))


class PatchEmbedding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(PATCH[0] * PATCH[1] * PATCH[2], VISION_WIDTH)
        self.position = nn.Parameter(torch.zeros(1, GRID[0] * GRID[1] * GRID[2], VISION_WIDTH))

    def forward(self, image: Tensor) -> Tensor:
        batch = image.shape[0]
        cut = image.view(batch, GRID[0], PATCH[0], GRID[1], PATCH[1], GRID[2], PATCH[2])
        return self.linear(cut.permute(0, 1, 3, 5, 2, 4, 6).reshape(batch, self.position.shape[1], -1)) + self.position


class Tower(nn.Module):
    def __init__(self, with_mask: bool) -> None:
        super().__init__()
        self.patch = PatchEmbedding()
        self.mask = PatchEmbedding() if with_mask else None
        self.class_token = nn.Parameter(torch.zeros(1, 1, VISION_WIDTH)) if with_mask else None
        self.blocks = nn.Sequential(*[VisionBlock() for _ in range(VISION_LAYERS)])
        self.norm = nn.LayerNorm(VISION_WIDTH)

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.patch(image)
        if self.mask is None or self.class_token is None:
            return self.norm(self.blocks(x))
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x + self.mask(mask)], 1)
        return self.norm(self.blocks(x))[:, 1:]


class DecoderBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(WIDTH, 1e-5), nn.RMSNorm(WIDTH, 1e-5)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.gate_up, self.down = nn.Linear(WIDTH, 2 * FFN, bias=False), nn.Linear(FFN, WIDTH, bias=False)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        x = x + self.out(attend(self.qkv(self.norm1(x)), HEADS, rotary))
        gate, up = self.gate_up(self.norm2(x)).chunk(2, -1)
        return x + self.down(functional.silu(gate) * up)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pet, self.ct = Tower(with_mask=True), Tower(with_mask=False)
        self.projector = nn.Sequential(nn.Linear(2 * VISION_WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.blocks = nn.ModuleList(DecoderBlock() for _ in range(LAYERS))
        self.norm, self.head = nn.RMSNorm(WIDTH, 1e-5), nn.Linear(WIDTH, VOCABULARY, bias=False)
        half = WIDTH // HEADS // 2
        angles = torch.arange(VISION_TOKENS + TEXT)[:, None] * 10000.0 ** (-torch.arange(half) / half)[None]
        angles = torch.cat([angles, angles], -1)
        self.rotary = (angles.cos(), angles.sin())

    def forward(self, pet: Tensor, mask: Tensor, ct: Tensor, ids: Tensor) -> Tensor:
        """Images are (2 * batch, ...): the global views, then the focal ones. The loss of all text but its first."""
        features = torch.cat([self.pet(pet, mask), self.ct(ct)], -1)
        features = features[:BATCH] + features[BATCH:]
        volume = features.transpose(1, 2).reshape(BATCH, 2 * VISION_WIDTH, *GRID)
        vision = self.projector(functional.avg_pool3d(volume, 2).flatten(2).transpose(1, 2))
        x = torch.cat([vision, self.embedding(ids)], 1)
        for block in self.blocks:
            x = block(x, self.rotary)
        logits = self.head(self.norm(x[:, VISION_TOKENS:-1]))
        return functional.cross_entropy(logits.reshape(-1, VOCABULARY), ids[:, 1:].reshape(-1))


def measure(steps: int) -> float:
    """The median of `steps` steps in ms, after three to warm up."""
    torch.manual_seed(0)
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    pet, mask, ct = (torch.rand(2 * BATCH, *VIEW) for _ in range(3))
    ids = torch.randint(0, VOCABULARY, (BATCH, TEXT))
    times = []
    for _ in range(3 + steps):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        model(pet, mask, ct, ids).backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    return statistics.median(times[3:]) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--ours", help="petar-train, to run in turn")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {sum(p.numel() for p in Model().parameters()) / 1e6:.2f} M parameters")
    for _ in range(3 if arguments.ours else 1):
        theirs = measure(arguments.steps)
        print(f"PyTorch {theirs:.0f} ms a step")
        if arguments.ours:
            command = [arguments.ours, "bench", str(arguments.threads), str(arguments.steps)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            ours = float(output.split()[-1])
            print(f"petar-train {ours:.0f} ms a step: {theirs / ours:.2f} times as fast")


if __name__ == "__main__":
    main()
