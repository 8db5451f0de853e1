"""Make the tokenizer fixtures: small SentencePiece models, added tokens, and texts with their ids.

    python make_tokenizer.py

writes into tokenizer/ next to this script:

tiny/           a tokenizer folder as PETAR and M3D checkpoints have it: 1000 SentencePiece BPE pieces with byte
                fallback (0..999), then the added tokens (1000..1005). Also used for the small test checkpoints.
tiny.json       texts -> ids -> decoded texts, by the slow LlamaTokenizer, legacy and not.
fast.json       the same texts by the fast tokenizer (`tokenizers`), from fast/*.json, the tokenizer.json files.
options.model   a SentencePiece model with user-defined and unused pieces, extra whitespace removed, no byte fallback.
options.json    texts -> ids -> decoded texts by `sentencepiece` itself.

transformers 5 no longer has the slow LlamaTokenizer, so this needs transformers 4 (4.44.2 was used), sentencepiece
and protobuf.
"""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import sentencepiece

HERE = Path(__file__).resolve().parent / "tokenizer"
PIECES = 1000
ADDED = ["<|endoftext|>", "<|end|>", "<im_patch>", "<bx_start>", "<bx_end>", "[SEG]"]


def sentences(count: int = 3000, seed: int = 1) -> list[str]:
    """Findings as a nuclear medicine report words them, and a little of everything else."""
    rng = random.Random(seed)
    uptake = ["Intense", "Mild", "Moderate", "Focal", "Diffuse", "Increased", "Heterogeneous", "Markedly intense"]
    tracer = ["FDG", "DOTATATE", "fluciclovine", "DCFPyL", "PSMA"]
    lesion = ["nodule", "lymph node", "mass", "lesion", "consolidation", "soft tissue thickening", "focus"]
    site = [
        "right upper lobe", "left lower lobe", "liver segment VII", "mediastinum", "left axilla", "right iliac bone",
        "T12 vertebral body", "spleen", "pancreatic head", "retroperitoneum", "thyroid gland", "prostate bed",
        "sigmoid colon", "right adrenal gland", "left cervical level IIA", "hilum", "sacrum", "gastric wall",
    ]  # fmt: skip
    verdict = [
        "suspicious for metastatic disease", "likely physiologic", "compatible with known lymphoma",
        "most likely inflammatory", "concerning for recurrence", "unchanged", "not significantly above background",
    ]  # fmt: skip
    lines = []
    for _ in range(count):
        suv = f"{rng.uniform(1, 30):.1f}"
        size = f"{rng.uniform(0.3, 6):.1f} x {rng.uniform(0.3, 6):.1f} cm"
        lines.append(
            rng.choice(
                [
                    (
                        f"{rng.choice(uptake)} {rng.choice(tracer)} uptake in a {size} {rng.choice(lesion)} of the "
                        f"{rng.choice(site)}, SUVmax {suv} (slice {rng.randint(1, 350)}), {rng.choice(verdict)}."
                    ),
                    f"There is {rng.choice(uptake).lower()} activity in the {rng.choice(site)} with an SUVmax of {suv}.",
                    f"The {rng.choice(lesion)} in the {rng.choice(site)} measures {size}; {rng.choice(verdict)}.",
                    f"Region: {rng.choice(site)}. SUVmax: {suv}. Findings: {rng.choice(verdict)}.",
                    "Please describe the region highlighted in the PET image.",
                    f"What is the organ highlighted here? It is the {rng.choice(site)}.",
                    f"Aufnahme im Bereich der Läsion, größer als vorher: {suv}  (σ = 2 µm, é, ñ).",
                ]
            )
        )
    return lines


def train(lines: list[str], **options: Any) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        model_type="bpe",
        normalization_rule_name="identity",
        num_threads=1,
        minloglevel=2,
        **options,
    )
    return model.getvalue()


def make_tiny(folder: Path) -> None:
    """The folder, with the files and flags of a released checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    model = train(
        sentences(),
        vocab_size=PIECES,
        byte_fallback=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        remove_extra_whitespaces=False,
        character_coverage=0.9999,
    )
    (folder / "tokenizer.model").write_bytes(model)

    def token(content: str, special: bool = True, rstrip: bool = False, normalized: bool = False) -> dict[str, Any]:
        return {
            "content": content,
            "lstrip": False,
            "normalized": normalized,
            "rstrip": rstrip,
            "single_word": False,
            "special": special,
        }

    decoder = {
        "0": token("<unk>"),
        "1": token("<s>"),
        "2": token("</s>", special=False, rstrip=True),
        str(PIECES): token(ADDED[0]),
        str(PIECES + 1): token(ADDED[1], rstrip=True),
        str(PIECES + 2): token(ADDED[2]),
        str(PIECES + 3): token(ADDED[3]),
        str(PIECES + 4): token(ADDED[4]),
        str(PIECES + 5): token(ADDED[5], special=False, normalized=True),
    }
    config = {
        "add_bos_token": True,
        "add_eos_token": False,
        "added_tokens_decoder": decoder,
        "additional_special_tokens": ["<im_patch>", "<bx_start>", "<bx_end>"],
        "bos_token": "<s>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|endoftext|>",
        "legacy": True,
        "model_max_length": 512,
        "pad_token": "<|endoftext|>",
        "padding_side": "right",
        "sp_model_kwargs": {},
        "tokenizer_class": "LlamaTokenizer",
        "unk_token": "<unk>",
        "use_default_system_prompt": False,
    }
    write(folder / "tokenizer_config.json", config)
    write(folder / "added_tokens.json", {text: PIECES + i for i, text in enumerate(ADDED)})
    write(
        folder / "special_tokens_map.json",
        {
            "additional_special_tokens": config["additional_special_tokens"],
            **{name: config[name] for name in ("bos_token", "eos_token", "pad_token", "unk_token")},
        },
    )


def write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    make_tiny(HERE / "tiny")
