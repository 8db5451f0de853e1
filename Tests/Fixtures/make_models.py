"""Make the small test models and what the reference network says of an exam with them.

    python make_models.py --weights-only [--model NAME] --out DIR     numpy alone: writes DIR/NAME/ checkpoints
    python make_models.py                                             torch, transformers, monai, einops, nilearn,
                                                                      nibabel, sentencepiece, safetensors:
                                                                      writes models/ next to this script

models/exam/          the coarse phantom of make_phantom.py: pet, ct, lesions .nii.gz
models/NAME.npz       what f32 PyTorch answers: label (of the lesion), question, prompt (ids), vision (tokens,
                      hidden), logits (for the first generated token), tokens (48 greedy ids), text, gap (smallest
                      over these 48 between the best and the second logit, relative to the best)

The checkpoints are not committed: --weights-only makes the same bytes anywhere. "demo" has no reference.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from reference.checkpoint import BEGIN_OF_TEXT, IMAGE_TOKEN, ModelSpec, write_checkpoint

if TYPE_CHECKING:
    import torch

HERE = Path(__file__).resolve().parent
TOKENIZER = HERE / "tokenizer" / "tiny"
FIXTURES = HERE / "models"
QUESTION = "Please describe the region highlighted in the PET image."
GREEDY_TOKENS = 48

# The seeds are ones whose text is decided: the best two logits lie further apart than int8 moves them, as they mostly
# do in a trained model. Random ones often lie closer, and then any rounding swaps them.
MODELS = {
    # As released: two towers, Phi-3.
    "phi3-two": ModelSpec(seed=35, family="phi3"),
    # As in the paper: one tower. A Llama decoder with grouped-query attention, tied embeddings, bf16 in two shards.
    "llama-shared": ModelSpec(
        seed=177,
        family="llama",
        vision_width=64,
        vision_mlp=128,
        qkv_bias=True,
        shared_tower=True,
        hidden=64,
        kv_heads=2,
        ffn=144,
        vocabulary=1024,
        rope_theta=500000.0,
        tied=True,
        dtype="BF16",
        shards=2,
    ),
    # Other views, another patch, the linear projector, a sliding window shorter than the prompt.
    "small-views": ModelSpec(
        seed=6,
        family="phi3",
        image=(16, 128, 128),
        patch=(4, 16, 8),
        projector="linear",
        hidden=64,
        layers=2,
        vocabulary=1006,
        sliding_window=48,
        dtype="F16",
    ),
    # Without a reference: the released shape in small, marked as random.
    "demo": ModelSpec(
        seed=1,
        family="phi3",
        vision_layers=4,
        vision_mlp=512,
        hidden=128,
        layers=4,
        ffn=352,
        dtype="BF16",
        extra={"petar_random_weights": True},
    ),
}
LABELS = {"phi3-two": 1, "llama-shared": 3, "small-views": 2}


def write_weights(folder: Path, names: list[str]) -> None:
    for name in names:
        write_checkpoint(MODELS[name], folder / name, TOKENIZER)


def prompt_ids(question: str, vision_tokens: int) -> list[int]:
    """The slow tokenizer's ids: what follows a special token starts with a space of its own."""
    import sentencepiece

    pieces = sentencepiece.SentencePieceProcessor(model_file=str(TOKENIZER / "tokenizer.model"))
    return [BEGIN_OF_TEXT, *[IMAGE_TOKEN] * vision_tokens, *pieces.encode(question)]


def text_of(ids: list[int]) -> str:
    import sentencepiece

    pieces = sentencepiece.SentencePieceProcessor(model_file=str(TOKENIZER / "tokenizer.model"))
    return pieces.decode(ids)


def views(exam: Path, label: int, image: tuple[int, int, int]) -> dict[str, torch.Tensor]:
    """The six arrays by name, from the imaging tests' reference."""
    import nibabel
    import torch
    from make_imaging import six_arrays

    pet, ct, lesions = (
        nibabel.as_closest_canonical(nibabel.load(exam / f"{name}.nii.gz")) for name in ("pet", "ct", "lesions")
    )
    mask = nibabel.Nifti1Image((np.asarray(lesions.dataobj) == label).astype(np.uint8), lesions.affine)
    names = ["pet", "mask", "ct", "pet_focal", "mask_focal", "ct_focal"]
    arrays = six_arrays(pet, ct, mask, image)
    return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in zip(names, arrays)}


def write_reference(checkpoint: Path, name: str, exam: Path, file: Path) -> None:
    from reference.petar import Petar

    spec = MODELS[name]
    model = Petar(checkpoint)
    vision = model.encode(views(exam, LABELS[name], spec.image))
    prompt = prompt_ids(QUESTION, spec.vision_tokens)
    tokens, logits = model.greedy(prompt, vision, IMAGE_TOKEN, GREEDY_TOKENS)
    best = logits.topk(2).values
    gap = float(((best[:, 0] - best[:, 1]) / best[:, 0].abs()).min())
    if gap < 1e-3:
        raise ValueError(f"{name}: two logits are within {gap:.1e}; another seed makes a fairer test")
    np.savez_compressed(
        file,
        label=np.int32(LABELS[name]),
        question=np.array(QUESTION),
        prompt=np.array(prompt, np.int32),
        vision=vision.numpy(),
        logits=logits[0].numpy(),
        tokens=np.array(tokens, np.int32),
        text=np.array(text_of(tokens)),
        gap=np.float32(gap),
    )
    print(f"{name}: gap {gap:.1e}, {len(set(tokens))} different tokens: {text_of(tokens)}")


def write_references() -> None:
    import torch
    from make_phantom import write_exam

    torch.set_num_threads(2)
    exam = FIXTURES / "exam"
    write_exam(exam, coarse=True)
    with tempfile.TemporaryDirectory() as folder:
        write_weights(Path(folder), list(LABELS))
        for name in LABELS:
            write_reference(Path(folder) / name, name, exam, FIXTURES / f"{name}.npz")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights-only", action="store_true")
    parser.add_argument("--model", choices=list(MODELS), action="append", help="default: all; may be repeated")
    parser.add_argument("--out", type=Path, help="where --weights-only puts the checkpoint folders")
    arguments = parser.parse_args()
    if not arguments.weights_only:
        write_references()
    elif arguments.out is None:
        parser.error("--weights-only needs --out")
    else:
        write_weights(arguments.out, arguments.model or list(MODELS))


if __name__ == "__main__":
    main()
