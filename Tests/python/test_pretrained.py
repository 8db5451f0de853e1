"""A new model whose decoder and towers were trained apart, as the paper's starts from Phi-3 and M3D-CLIP."""

from __future__ import annotations

import json
import os
import struct
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import petar
import pytest
from reference import checkpoint
from reference.checkpoint import ModelSpec, Spec

SPEC = ModelSpec(seed=8, family="phi3", image=(8, 32, 32), patch=(4, 8, 8), shared_tower=True, vocabulary=1008)
TOWER, CT_TOWER = "model.vision_tower.vision_tower.", "model.vision_tower.ct_tower."
IMAGE = "<im_patch>"


def write_part(folder: Path, specs: list[Spec], config: dict[str, Any], rename: tuple[str, str] = ("", "")) -> None:
    """Weights and settings alone."""
    folder.mkdir()
    made = [(name, shape, checkpoint.generate(SPEC, name, shape, kind)) for name, shape, kind in specs]
    tensors = [(name.replace(*rename), shape, checkpoint.encode(values, "F32")) for name, shape, values in made]
    checkpoint.write_tensors(folder, tensors, "F32", shards=1)
    checkpoint.write_json(folder / "config.json", config)


def write_decoder(folder: Path, tokenizer: Path, spec: ModelSpec) -> None:
    """A Phi-3 or Llama as its makers publish it: no towers, no token for images."""
    config = {**checkpoint.decoder_config(spec), "model_type": spec.family}
    write_part(folder, list(checkpoint.decoder_specs(spec)), config)
    checkpoint.copy_tokenizer(tokenizer, folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("additional_special_tokens")
    tokens = settings["added_tokens_decoder"]
    settings["added_tokens_decoder"] = {key: tokens[key] for key in tokens if int(key) < checkpoint.IMAGE_TOKEN}
    checkpoint.write_json(folder / "tokenizer_config.json", settings)
    added = json.loads((folder / "added_tokens.json").read_text())
    added = {text: number for text, number in added.items() if number < checkpoint.IMAGE_TOKEN}
    checkpoint.write_json(folder / "added_tokens.json", added)


def write_towers(folder: Path) -> None:
    """M3D-CLIP: one tower without a mask's embedding, and a language encoder that nobody wants."""
    specs = [spec for spec in checkpoint.vision_specs(SPEC) if "patch_embedding_mask" not in spec[0]]
    others: list[Spec] = [("language_encoder.pooler.dense.weight", (16, 16), "matrix"), ("logit_scale", (), "gain")]
    write_part(folder, specs + others, {"model_type": "m3d_clip"}, rename=(TOWER, "vision_encoder."))


def tensors(folder: Path) -> dict[str, np.ndarray]:
    data = (folder / "model.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    ends = {name: [8 + size + end for end in entry["data_offsets"]] for name, entry in header.items()}
    return {
        name: np.frombuffer(data[slice(*ends[name])], "<f4").reshape(entry["shape"]) for name, entry in header.items()
    }


@pytest.fixture(scope="module")
def parts(root: Path, bin_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `phi3`, `short` (a Phi-3 with no row to spare), `llama`, `towers`, and `data` with phantoms."""
    folder = tmp_path_factory.mktemp("parts")
    tokenizer = root / "Tests" / "Fixtures" / "tokenizer" / "tiny"
    write_decoder(folder / "phi3", tokenizer, SPEC)
    write_decoder(folder / "short", tokenizer, replace(SPEC, vocabulary=checkpoint.IMAGE_TOKEN))
    write_decoder(folder / "llama", tokenizer, replace(SPEC, family="llama", kv_heads=2, tied=True))
    write_towers(folder / "towers")
    words = ["phantom", "--exams", "2", "--seed", "4", "--out", str(folder / "data")]
    subprocess.run([bin_dir / "petar-train", *words], check=True, capture_output=True)
    return folder


def train(bin_dir: Path, parts: Path, out: Path, **recipe: Any) -> subprocess.CompletedProcess[str]:
    recipe.setdefault("stages", [{"name": "projector", "tasks": ["finding"], "train": "projector", "epochs": 3}])
    recipe["model"] = {
        "image_size": list(SPEC.image),
        "patch_size": list(SPEC.patch),
        "proj_pooling_size": SPEC.pool,
        **recipe["model"],
    }
    out.mkdir()
    (out / "recipe.json").write_text(json.dumps(recipe))
    words = [bin_dir / "petar-train", "run", out / "recipe.json", "--data", parts / "data", "--out", out / "run"]
    return subprocess.run([*map(str, words)], capture_output=True, text=True)


@pytest.mark.parametrize("decoder", ["phi3", "short", "llama"])
def test_from_a_decoder_and_towers(bin_dir: Path, parts: Path, tmp_path: Path, decoder: str) -> None:
    folders = {"decoder": str(parts / decoder), "towers": str(parts / "towers")}
    done = train(bin_dir, parts, tmp_path / "out", model=folders)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "out" / "run"
    start, trained = tensors(run / "0-start"), tensors(run / "1-projector")

    text, vision = tensors(parts / decoder), tensors(parts / "towers")
    rows = len(text["model.embed_tokens.weight"])
    for name, values in text.items():
        np.testing.assert_array_equal(start[name][: len(values)], values, name)
    for name in {"model.embed_tokens.weight", "lm_head.weight"} & text.keys():
        assert len(start[name]) == max(rows, checkpoint.IMAGE_TOKEN + 1)
        mean = np.broadcast_to(text[name].mean(0, dtype=np.float64), start[name][rows:].shape)
        np.testing.assert_allclose(start[name][rows:], mean, rtol=1e-6, atol=1e-9)
    for name in vision:
        place = name.removeprefix("vision_encoder.")
        if place != name:
            np.testing.assert_array_equal(start[TOWER + place], vision[name], name)
            if place != "cls_token":
                np.testing.assert_array_equal(start[CT_TOWER + place], vision[name], name)
    masks = [values for name, values in start.items() if "patch_embedding_mask" in name]
    assert len(masks) == 3 and not any(values.any() for values in masks)

    settings = ["num_key_value_heads", "sliding_window", "rope_theta", "tie_word_embeddings", "eos_token_id"]
    given, config = (json.loads((folder / "config.json").read_text()) for folder in (parts / decoder, run / "0-start"))
    assert [config.get(name) for name in settings] == [given.get(name) for name in settings]

    changed = {name for name in start if not np.array_equal(start[name], trained[name])}
    assert changed and all(name.startswith("model.mm_projector.") for name in changed)


def test_parts_of_a_whole_model(bin_dir: Path, parts: Path, tmp_path: Path, root: Path) -> None:
    """It has a mask's embedding, a CT tower and a token for images of its own."""
    whole = tmp_path / "whole"
    checkpoint.write_checkpoint(
        replace(SPEC, shared_tower=False), whole, root / "Tests" / "Fixtures" / "tokenizer" / "tiny"
    )
    # As Hugging Face's cache keeps them: links to files elsewhere, relative to their own folder.
    linked = tmp_path / "snapshots" / "main"
    linked.mkdir(parents=True)
    for file in whole.iterdir():
        (linked / file.name).symlink_to(os.path.relpath(file, linked))
    done = train(bin_dir, parts, tmp_path / "out", model={"decoder": str(linked), "towers": str(linked)})
    assert done.returncode == 0, done.stderr
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_symlink()]
    given, start = tensors(whole), tensors(tmp_path / "out" / "run" / "0-start")
    assert given.keys() == start.keys()
    for name, values in given.items():
        if not name.startswith("model.mm_projector."):
            np.testing.assert_array_equal(start[name], values, name)
    for name in ["tokenizer.model", "tokenizer_config.json", "added_tokens.json"]:
        assert (tmp_path / "out" / "run" / "0-start" / name).read_bytes() == (whole / name).read_bytes()


def test_the_tokenizer_gets_a_token_for_images(bin_dir: Path, parts: Path, tmp_path: Path) -> None:
    folders = {"decoder": str(parts / "phi3"), "towers": str(parts / "towers")}
    assert train(bin_dir, parts, tmp_path / "out", model=folders).returncode == 0
    folder = tmp_path / "out" / "run" / "1-projector"
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    assert settings["added_tokens_decoder"][str(checkpoint.IMAGE_TOKEN)]["content"] == IMAGE
    assert json.loads((folder / "added_tokens.json").read_text())[IMAGE] == checkpoint.IMAGE_TOKEN
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "lamed_phi3" and config["vocab_size"] == SPEC.vocabulary

    model = tmp_path / "model.petar"
    convert = [bin_dir / "petar-convert", folder, "-o", model, "--weights", "f32"]
    subprocess.run([*map(str, convert)], check=True, capture_output=True)
    with petar.Model(model) as opened:
        prompt = opened.prompt()
    images = SPEC.vision_tokens
    assert prompt[: images + 1] == [checkpoint.BEGIN_OF_TEXT] + [checkpoint.IMAGE_TOKEN] * images
    assert len(prompt) > images + 1 and checkpoint.IMAGE_TOKEN not in prompt[images + 1 :]


@pytest.mark.parametrize(
    ("model", "more", "words"),
    [
        ({"decoder": "towers", "towers": "towers"}, {}, "embed_tokens"),
        ({"decoder": "phi3", "towers": "phi3"}, {}, "no vision tower"),
        ({"decoder": "phi3"}, {}, "vision_width is missing"),
        ({"decoder": "phi3", "towers": "towers", "hidden_size": 64}, {}, "embed_tokens"),
        ({"decoder": "phi3", "towers": "towers"}, {"vocabulary": 600}, '"vocabulary"'),
    ],
)
def test_parts_that_do_not_fit_are_named(
    bin_dir: Path, parts: Path, tmp_path: Path, model: dict[str, Any], more: dict[str, Any], words: str
) -> None:
    model = {name: str(parts / value) if isinstance(value, str) else value for name, value in model.items()}
    done = train(bin_dir, parts, tmp_path / "out", model=model, **more)
    assert done.returncode == 1 and words in done.stderr, done.stderr
