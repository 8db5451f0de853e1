"""Make the seeds of the fuzz targets, Tests/Fuzz/Seeds/<target>/. Needs numpy, libzstd and build/bin/petar-convert.

    make build && python make_fuzz_seeds.py

FuzzPetarFile    a model as small as models can be, in q8 and q4, and its first two tensors alone (less to mutate in
                 vain); metadata and tokenizer lie in zstd blocks that are not compressed, so that a mutated byte is a
                 byte of their content
FuzzTokenizer    tokenizer sections, each followed by text
FuzzNIfTI        files of imaging/nifti that differ in what the reader must do, gzipped and not
"""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

from reference import checkpoint

HERE = Path(__file__).resolve().parent
SEEDS = HERE.parent / "Fuzz" / "Seeds"
CONVERTER = HERE.parents[1] / "build" / "bin" / "petar-convert"
TEXT = "  Läsion \u75c5\u5909, SUVmax 5.2\n<im_patch></s> [SEG]x\0\U0001f9e0"

MODEL = checkpoint.ModelSpec(
    seed=1,
    family="phi3",
    image=(4, 8, 8),
    patch=(2, 4, 4),
    vision_width=64,
    vision_layers=1,
    vision_mlp=8,
    shared_tower=True,
    hidden=8,
    layers=1,
    heads=2,
    kv_heads=2,
    ffn=8,
    vocabulary=304,
)

SECTIONS = {"directory": 24, "metadata": 80, "tokenizer": 136}
Sections = dict[str, bytes]


def small_tokenizer(folder: Path) -> None:
    """300 pieces without byte fallback, and added tokens."""
    shutil.copyfile(HERE / "tokenizer" / "options.model", folder / "tokenizer.model")
    added = {"<|endoftext|>": 300, "<|end|>": 301, "<im_patch>": 302}
    checkpoint.write_json(folder / "added_tokens.json", added)


# ---- .petar files (the layout is told in Sources/Petar/Weights/PetarFile.swift) ----


def convert(weights: str) -> bytes:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "seed"  # a file names the folder it came from
        folder.mkdir()
        tensors = [
            (name, shape, checkpoint.encode(checkpoint.uniform(MODEL.seed, name, shape), "F32"))
            for name, shape, _ in checkpoint.tensor_specs(MODEL)
        ]
        checkpoint.write_tensors(folder, tensors, "F32", shards=1)
        config = {**checkpoint.decoder_config(MODEL), **checkpoint.vision_config(MODEL)}
        checkpoint.write_json(folder / "config.json", {**config, "eos_token_id": 300, "pad_token_id": 300})
        checkpoint.write_json(folder / "generation_config.json", {"eos_token_id": [300, 301]})
        small_tokenizer(folder)
        output = folder / "seed.petar"
        subprocess.run([CONVERTER, folder, "-o", output, "--weights", weights], check=True, capture_output=True)
        return output.read_bytes()


def read_sections(data: bytes) -> Sections:
    """Stored bytes of the directory, content of the others."""
    zstd = ctypes.CDLL(ctypes.util.find_library("zstd"))
    zstd.ZSTD_decompress.restype = ctypes.c_size_t
    result = {}
    for name, field in SECTIONS.items():
        offset, stored, content = struct.unpack_from("<3Q", data, field)
        result[name] = data[offset : offset + stored]
        if name != "directory":
            target = ctypes.create_string_buffer(content)
            source = ctypes.c_char_p(result[name])
            size = zstd.ZSTD_decompress(target, ctypes.c_size_t(content), source, ctypes.c_size_t(stored))
            if size != content:
                raise ValueError(f"the {name} cannot be decompressed")
            result[name] = target.raw
    return result


def raw_frame(content: bytes) -> bytes:
    """A zstd frame (RFC 8878) of one block that is not compressed, with its size and without a checksum."""
    return struct.pack("<IBI", 0xFD2FB528, 0xA0, len(content)) + (len(content) << 3 | 1).to_bytes(3, "little") + content


def with_raw_sections(data: bytes, tensors: int | None = None) -> bytes:
    """The same model with sections that are not compressed, and with its first tensors only if a number is given.

    Block sizes stay under zstd's 128 KiB.
    """
    sections = read_sections(data)
    (end,) = struct.unpack_from("<Q", data, SECTIONS["directory"])
    result = bytearray(data[:end])
    if tensors is not None:
        position = 0
        for _ in range(tensors):
            (name_length,) = struct.unpack_from("<I", sections["directory"], position)
            position += 4 + name_length + 80
            offset, size = struct.unpack_from("<2Q", sections["directory"], position - 48)
        sections["directory"] = sections["directory"][:position]
        del result[offset + size :]
        struct.pack_into("<I", result, 12, tensors)
    for name, field in SECTIONS.items():
        stored = sections[name] if name == "directory" else raw_frame(sections[name])
        struct.pack_into("<3Q", result, field, len(result), len(stored), len(sections[name]))
        result[field + 24 : field + 56] = hashlib.sha256(stored).digest()
        result += stored
    struct.pack_into("<Q", result, 16, len(result))
    result[192:224] = hashlib.sha256(result[:192]).digest()
    return bytes(result)


# ---- Tokenizer sections (the layout is told in Sources/Petar/Language/TokenizerSection.swift) ----

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
SLOW_LEGACY, SLOW, FAST = 1, 2, 3
BYTE_FALLBACK = 0x08
PIECES = {
    **{"<unk>": UNKNOWN, "<s>": CONTROL, "</s>": CONTROL, "b a": USER_DEFINED},
    **dict.fromkeys(["\u2581", "a", "b", "ab", "\u2581ab", "aa", "\u00e4"], NORMAL),
}


def string(text: str) -> bytes:
    return struct.pack("<I", len(text.encode())) + text.encode()


def few_pieces(rules: int, prefix: int, flags: int) -> bytes:
    """A section of a few hundred bytes, or of 4 kB with byte fallback: what is small is tried far more often."""
    pieces = PIECES | ({f"<0x{byte:02X}>": BYTE for byte in range(256)} if flags & BYTE_FALLBACK else {})
    names = list(pieces)
    out = struct.pack("<3B3i", rules, prefix, flags, 1, 2, 0) + string(" \u2047 ")
    out += struct.pack("<I", len(pieces))
    for index, (text, kind) in enumerate(pieces.items()):
        out += struct.pack("<Bf", kind, -float(index)) + string(text)
    out += struct.pack("<I", 2)
    for index, text in enumerate(["<im_patch>", "[SEG]"]):
        out += struct.pack("<iB", len(pieces) + index, index * 12 + 1) + string(text)
    merges = [("a", "b"), ("\u2581", "ab"), ("a", "a")] if rules == FAST else []
    return (
        out + struct.pack("<I", len(merges)) + b"".join(struct.pack("<2i", *map(names.index, pair)) for pair in merges)
    )


# ---- Seeds ----


NIFTI = [
    *["v1_plain.nii", "v2_plain.nii", "v1_be_i2.nii.gz", "v2_be_f4.nii.gz", "v1_le_u8.nii.gz", "v1_le_i8.nii.gz"],
    *["v1_qform_turned.nii.gz", "v2_qform_half_turn.nii.gz", "v1_extension.nii.gz", "v2_extension.nii.gz"],
    *["v1_one_frame.nii.gz", "v1_pair.hdr", "v2_packed_pair.hdr.gz"],
]


def write(target: str, name: str, data: bytes) -> None:
    path = SEEDS / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    print(f"{path.relative_to(SEEDS)}: {len(data)} bytes")


def main() -> None:
    model = convert("q8")
    write("FuzzPetarFile", "whole.petar", with_raw_sections(model))
    write("FuzzPetarFile", "q4.petar", with_raw_sections(convert("q4")))
    write("FuzzPetarFile", "two_tensors.petar", with_raw_sections(model, tensors=2))
    write("FuzzTokenizer", "options", read_sections(model)["tokenizer"] + TEXT.encode())
    for rules, prefix, flags in (
        (SLOW_LEGACY, 0, 0x17), (SLOW, 0, 0x03), (SLOW, 0, 0x03 | BYTE_FALLBACK), (FAST, 1, 0x31), (FAST, 2, 0x11)
    ):  # fmt: skip
        section = few_pieces(rules, prefix, flags)
        write(
            "FuzzTokenizer", f"few_{rules}_{prefix}_{flags:02x}", section + b"  ab  aab b a<im_patch> [SEG]\xc3\xa4\n"
        )
    for name in NIFTI:
        write("FuzzNIfTI", name, (HERE / "imaging" / "nifti" / name).read_bytes())


if __name__ == "__main__":
    main()
