"""Make the tokenizer fixtures: small SentencePiece models, added tokens, and texts with their ids.

    python make_tokenizer.py

writes into tokenizer/ next to this script:

tiny/             a tokenizer folder as PETAR and M3D checkpoints have it: 1000 SentencePiece BPE pieces with byte
                  fallback (0..999), then the added tokens (1000..1005). Also used for the small test checkpoints.
options.model     a SentencePiece model with user-defined and unused pieces, extra white space removed, no byte
                  fallback.
fast/             tokenizer.json files made from tiny/.
vectors/*.json    "files": what differs from tiny/ (null: a file that is absent, "=name": a copy of that fixture);
                  "encode": [text, ids with begin-of-text, decoded without and with special tokens];
                  "decode": [ids, decoded without and with special tokens].
                  By transformers' slow LlamaTokenizer (over sentencepiece); fast_*.json by `tokenizers`.

transformers 5 no longer has the slow LlamaTokenizer, so this needs transformers 4 (4.44.2 was used), sentencepiece
and protobuf.
"""

from __future__ import annotations

import io
import json
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import sentencepiece
from transformers import LlamaTokenizer, LlamaTokenizerFast
from transformers.convert_slow_tokenizer import import_protobuf

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
                    (
                        f"There is {rng.choice(uptake).lower()} activity in the {rng.choice(site)} with an SUVmax of "
                        f"{suv}."
                    ),
                    f"The {rng.choice(lesion)} in the {rng.choice(site)} measures {size}; {rng.choice(verdict)}.",
                    f"Region: {rng.choice(site)}. SUVmax: {suv}. Findings: {rng.choice(verdict)}.",
                    "Please describe the region highlighted in the PET image.",
                    f"What is the organ highlighted here? It is the {rng.choice(site)}.",
                    f"Aufnahme im Bereich der Läsion, größer als vorher: {suv}  (\u03c3 = 2 µm, é, ñ).",
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


def token(content: str, special: bool = True, **flags: bool) -> dict[str, Any]:
    """An entry of added_tokens_decoder."""
    names = ("lstrip", "normalized", "rstrip", "single_word")
    return {"content": content, **{name: flags.get(name, False) for name in names}, "special": special}


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


def make_options(path: Path) -> None:
    """What the tiny model does not have. Unused pieces cannot be trained, so some are marked afterwards."""
    model = import_protobuf().ModelProto()
    model.ParseFromString(
        train(
            sentences(500, seed=2),
            vocab_size=300,
            user_defined_symbols=["SUVmax", "region", "a  b", "[x]"],
            remove_extra_whitespaces=True,
            character_coverage=0.99,
        )
    )
    for piece in model.pieces:
        if piece.type == 1 and len(piece.piece) > 2 and sum(map(ord, piece.piece)) % 5 == 0:
            piece.type = 5
    path.write_bytes(model.SerializeToString())


def texts(count: int = 220, seed: int = 3) -> list[str]:
    """Texts that go wrong easily, then random mixtures."""
    fixed = [
        "",
        " ",
        "  ",
        "\n",
        "\t",
        "a",
        " a",
        "a ",
        "<im_patch>" * 8 + "Please describe the region highlighted in the PET image.",
        "Please describe the region highlighted in the PET image.",
        "Hello <s>.",
        "SUVmax 12.4 (slice 117), suspicious for metastatic disease.",
        "<|end|>   \n  next",
        "x <|end|> y",
        "x  [SEG]  y",
        "[SEG]y",
        "y[SEG]",
        "a [SEG] b[SEG]c",
        "<|endoftext|><|end|><im_patch> <bx_start><bx_end>[SEG]",
        "e\u0301 \u00e9 \u212b \u00c5",
        "\U0001f999 \U0001f636\u200d\U0001f32b\ufe0f \u2705",
        "\u0412 \u0433\u0440\u0443\u0434\u0438 \u80ba\u764c \u0e1b\u0e2d\u0e14",
        "\x00\x01\x7f\x1b\r\n",
        "\u2581\u2581 \u2581a",
        "<0x0A> <0x41>",
        "</s>  </s>\n</s>x",
        "<unk> <unk>x",
        "<|en <|end| <im_patch <im_<im_patch>",
        "a" * 200,
        " " * 50 + "a" + " " * 50,
    ]
    words = [
        "the", "The", "uptake", "SUVmax", "region", "liver", " ", " ", "  ", "   ", "\n", "\t", "\r\n", "\u00a0",
        "\u3000", "\x1c", "\u2581", "a  b", "[x]", "3.14", "12", "-", "(", ")", ".", ",", "q", "Z", "x", "_", "\u00e9",
        "\u00e4", "\u03c3", "\u4e2d", "\U0001f680", "\u200d", "e\u0301", "<|end|>", "<|end|>", "<|endoftext|>",
        "<im_patch>", "<bx_start>", "<bx_end>", "[SEG]", "[SEG]", "<s>", "</s>", "<unk>", "<0x20>", "<|e", "[SE",
        "\ufffd", "\x00",
    ]  # fmt: skip
    rng = random.Random(seed)
    return fixed + ["".join(rng.choices(words, k=rng.randint(1, 14))) for _ in range(count)]


def id_sequences(ids: list[int], count: int = 120, seed: int = 4) -> list[list[int]]:
    """Random ones of the ids, with many bytes (low) and added tokens (high) among them."""
    rng = random.Random(seed)

    def one() -> int:
        kind = rng.random()
        if kind < 0.4:
            return rng.choice(ids[3:259])
        return rng.choice(ids[-8:] if kind < 0.55 else ids)

    return [[one() for _ in range(rng.randint(1, 12))] for _ in range(count)]


def make_vectors(name: str, files: dict[str, Any], fast: bool = False) -> None:
    """`files`: see the docstring of the module."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "tokenizer"
        shutil.copytree(HERE / "tiny", folder)
        for file, content in files.items():
            if content is None:
                (folder / file).unlink()
            elif isinstance(content, str):
                shutil.copy(HERE / content[1:], folder / file)
            else:
                write(folder / file, content)
        tokenizer = (LlamaTokenizerFast if fast else LlamaTokenizer).from_pretrained(folder)

        def decoded(ids: list[int]) -> list[str]:
            return [tokenizer.decode(ids, skip_special_tokens=skip) for skip in (True, False)]

        encode = []
        for text in texts():
            ids = tokenizer(text).input_ids
            encode.append([text, ids, *decoded(ids)])
        decode = [
            [ids, *decoded(ids)]
            for ids in id_sequences(sorted({*range(tokenizer.vocab_size), *tokenizer.added_tokens_decoder}))
        ]
    rows = {
        "encode": ",\n".join(json.dumps(row) for row in encode),
        "decode": ",\n".join(json.dumps(row) for row in decode),
    }
    path = HERE / "vectors" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        f'{{"files": {json.dumps(files)},\n'
        + ",\n".join(f'"{key}": [\n{text}\n]' for key, text in rows.items())
        + "}\n",
        encoding="utf-8",
    )


def main() -> None:
    tiny = HERE / "tiny"
    make_tiny(tiny)
    make_options(HERE / "options.model")
    config = json.loads((tiny / "tokenizer_config.json").read_text(encoding="utf-8"))
    old = {key: value for key, value in config.items() if key not in ("added_tokens_decoder", "legacy")}
    flags = {
        **config["added_tokens_decoder"],
        "1000": token(ADDED[0], lstrip=True),
        "1001": token(ADDED[1], rstrip=True, lstrip=True),
        "1003": token(ADDED[3], single_word=True),
        "1004": token(ADDED[4], single_word=True, rstrip=True),
        "1005": token(ADDED[5], special=False, single_word=True, lstrip=True),
        "1006": token("liver", special=False, single_word=True),
    }
    plain = {
        "tokenizer.model": "=options.model",
        "added_tokens.json": None,
        "special_tokens_map.json": None,
    }
    few = {key: value for key, value in old.items() if key != "additional_special_tokens"}
    few.update(eos_token="</s>", pad_token=None)

    def configured(**changes: Any) -> dict[str, Any]:
        return {"tokenizer_config.json": {**config, **changes}}

    make_vectors("legacy", {})
    make_vectors("modern", configured(legacy=False))
    make_vectors("flags", configured(added_tokens_decoder=flags))
    make_vectors("modern_flags", configured(added_tokens_decoder=flags, legacy=False))
    make_vectors("no_prefix", configured(add_prefix_space=False, legacy=False, add_bos_token=False))
    make_vectors("old_files", {"tokenizer_config.json": old})
    make_vectors("options", {**plain, "tokenizer_config.json": few})
    make_vectors("modern_options", {**plain, "tokenizer_config.json": {**few, "legacy": False}})

    (HERE / "fast").mkdir(exist_ok=True)
    for name, legacy in (("prepend", True), ("metaspace", False)):
        fast = LlamaTokenizerFast.from_pretrained(tiny, legacy=legacy, from_slow=True)
        content = json.loads(fast.backend_tokenizer.to_str())
        (HERE / "fast" / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
        files = {"tokenizer.json": f"=fast/{name}.json", "tokenizer.model": None, "added_tokens.json": None}
        make_vectors(f"fast_{name}", {**files, **configured(legacy=legacy)}, fast=True)
    # Other flags are only read from the file itself.
    content = json.loads((HERE / "fast" / "prepend.json").read_text(encoding="utf-8"))
    content["added_tokens"] = [{"id": int(id), **value} for id, value in flags.items()]
    make_vectors(
        "fast_flags", {**files, **configured(added_tokens_decoder=flags), "tokenizer.json": content}, fast=True
    )


if __name__ == "__main__":
    main()
