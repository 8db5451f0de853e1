"""PETAR-4B's network in PyTorch, from MONAI's blocks and transformers' decoders; f32, eager attention.

Written from the description in the paper and of the released checkpoints, independently of the library.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from monai.networks.blocks import PatchEmbeddingBlock, TransformerBlock
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, Phi3Config, Phi3ForCausalLM

VISION_HEAD_WIDTH = 64


class Tower(nn.Module):
    """Pre-norm transformer over patches; a class token goes first if there is one and is left out of the result."""

    def __init__(self, config: dict, width: int, mlp: int, layers: int, with_class: bool, with_mask: bool) -> None:
        super().__init__()
        heads = width // VISION_HEAD_WIDTH

        def patch_embedding() -> PatchEmbeddingBlock:
            return PatchEmbeddingBlock(
                in_channels=1,
                img_size=config["image_size"],
                patch_size=config["patch_size"],
                hidden_size=width,
                num_heads=heads,
                proj_type="perceptron",
            )

        self.patch_embedding = patch_embedding()
        if with_mask:
            self.patch_embedding_mask = patch_embedding()
        if with_class:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        bias = config.get("qkv_bias", False)
        self.blocks = nn.ModuleList(TransformerBlock(width, mlp, heads, qkv_bias=bias) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """(1, 1, depth, height, width) -> (1, patches, width)"""
        tokens = self.patch_embedding(image)
        if mask is not None:
            tokens = tokens + self.patch_embedding_mask(mask)
        has_class = hasattr(self, "cls_token")
        if has_class:
            tokens = torch.cat([self.cls_token, tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        return tokens[:, 1:] if has_class else tokens


class Towers(nn.Module):
    """`vision_tower` for PET with the lesion mask; `ct_tower` for CT, or `vision_tower` again if shared."""

    def __init__(self, config: dict, width: int, mlp: int, layers: int, shared: bool) -> None:
        super().__init__()
        self.vision_tower = Tower(config, width, mlp, layers, with_class=True, with_mask=True)
        if not shared:
            self.ct_tower = Tower(config, width, mlp, layers, with_class=False, with_mask=False)

    def forward(self, pet: Tensor, mask: Tensor, ct: Tensor) -> Tensor:
        ct_tower = self.ct_tower if hasattr(self, "ct_tower") else self.vision_tower
        return torch.cat([self.vision_tower(pet, mask), ct_tower(ct)], dim=2)


class Projector(nn.Module):
    def __init__(self, config: dict, inputs: int, outputs: int) -> None:
        super().__init__()
        self.grid = [i // p for i, p in zip(config["image_size"], config["patch_size"])]
        self.pool = nn.AvgPool3d(config["proj_pooling_size"])
        layers: list[nn.Module] = [nn.Linear(inputs, outputs)]
        for _ in range(1, config["proj_layer_num"]):
            layers += [nn.GELU()] if config["proj_layer_type"] == "mlp" else []
            layers += [nn.Linear(outputs, outputs)]
        self.projector = nn.Sequential(*layers)

    def forward(self, tokens: Tensor) -> Tensor:
        volume = tokens.transpose(1, 2).unflatten(2, self.grid)
        return self.projector(self.pool(volume).flatten(2).transpose(1, 2))


def make_decoder(config: dict) -> nn.Module:
    shared = ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"]
    shared += ["num_key_value_heads", "hidden_act", "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings"]
    numbers = {key: config[key] for key in [*shared, "bos_token_id", "eos_token_id", "pad_token_id"]}
    numbers["rope_parameters"] = {"rope_type": "default", "rope_theta": config["rope_theta"]}
    numbers["attn_implementation"] = "eager"
    if config["model_type"] == "lamed_phi3":
        return Phi3ForCausalLM(Phi3Config(**numbers, sliding_window=config["sliding_window"]))
    return LlamaForCausalLM(LlamaConfig(**numbers))


class Petar(nn.Module):
    """A checkpoint folder, loaded strictly: every tensor used, none missing."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.config = json.loads((folder / "config.json").read_text())
        state: dict[str, Tensor] = {}
        for file in sorted(folder.glob("*.safetensors")):
            state.update({name: values.float() for name, values in load_file(file).items()})
        tower = "model.vision_tower.vision_tower."
        mlp, width = state[tower + "blocks.0.mlp.linear1.weight"].shape
        layers = len({name.split(".")[4] for name in state if name.startswith(tower + "blocks.")})
        shared = not any(name.startswith("model.vision_tower.ct_tower.") for name in state)
        self.towers = Towers(self.config, width, mlp, layers, shared)
        self.projector = Projector(self.config, 2 * width, self.config["hidden_size"])
        self.decoder = make_decoder(self.config)
        parts = {
            "model.vision_tower.": self.towers,
            "model.mm_projector.": self.projector,
            "": self.decoder,
        }
        for prefix, part in parts.items():
            own = {name.removeprefix(prefix): state.pop(name) for name in list(state) if name.startswith(prefix)}
            if part is self.decoder and self.config["tie_word_embeddings"]:
                own["lm_head.weight"] = own["model.embed_tokens.weight"]
            missing, unexpected = part.load_state_dict(own, strict=False)
            # MONAI's blocks carry a norm for a cross-attention they do not have.
            missing = [name for name in missing if "norm_cross_attn" not in name]
            if missing or unexpected:
                raise ValueError(f"{folder}: missing {missing}, unexpected {unexpected}")
        self.eval()

    @torch.inference_mode()
    def encode(self, views: dict[str, Tensor]) -> Tensor:
        """Six (depth, height, width) arrays -> (vision tokens, hidden)"""
        batched = {name: values[None, None] for name, values in views.items()}
        whole = self.towers(batched["pet"], batched["mask"], batched["ct"])
        focal = self.towers(batched["pet_focal"], batched["mask_focal"], batched["ct_focal"])
        return self.projector(whole + focal)[0]

    @torch.inference_mode()
    def logits(self, ids: list[int], vision: Tensor, image_token: int) -> Tensor:
        """Logits after each position, (len(ids), vocabulary); image tokens are replaced in order."""
        sequence = torch.tensor(ids)
        embedded = self.decoder.get_input_embeddings()(sequence)
        embedded[sequence == image_token] = vision
        return self.decoder(inputs_embeds=embedded[None], use_cache=False).logits[0]

    def greedy(self, prompt: list[int], vision: Tensor, image_token: int, count: int) -> tuple[list[int], Tensor]:
        """`count` greedy ids and the logits each was taken from; every step recomputes the whole sequence."""
        ids, rows = list(prompt), []
        for _ in range(count):
            rows.append(self.logits(ids, vision, image_token)[-1])
            ids.append(int(rows[-1].argmax()))
        return ids[len(prompt) :], torch.stack(rows)
