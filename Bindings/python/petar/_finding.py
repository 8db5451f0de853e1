"""What a model returns."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from ._abi import library
from ._native import Handle, read_ids, read_object, read_text


@dataclass(frozen=True)
class Finding:
    """The description of one lesion. For research use; PETAR is not a medical device."""

    text: str
    #: The lesion that was asked for; 0: everything in the mask that is not background.
    label: int
    #: Generated token ids, the end-of-text token left out.
    tokens: tuple[int, ...]
    question: str
    #: "end_of_text" or "max_tokens".
    stop_reason: str
    #: Seconds for load, prepare, encode, prefill and decode.
    timings_s: dict[str, float]
    #: What was done to the grids: axes, head crop, focal box, lesion volume share.
    geometry: dict[str, Any]
    #: Name, file hash, weights type and provenance of the model.
    model: dict[str, Any]
    warnings: tuple[str, ...]
    #: All the library reports, as it reports it.
    json: dict[str, Any] = field(repr=False)


def read_finding(finding: Handle, label: int) -> Finding:
    """A native finding about the lesion of a label."""
    report = read_object(functools.partial(library().petar_finding_json, finding))
    return Finding(
        text=read_text(functools.partial(library().petar_finding_text, finding)),
        label=label,
        tokens=tuple(map(int, read_ids(functools.partial(library().petar_finding_tokens, finding)))),
        question=report["question"],
        stop_reason=report["stop_reason"],
        timings_s=report["timings_s"],
        geometry=report["geometry"],
        model=report["model"],
        warnings=tuple(report["warnings"]),
        json=report,
    )


@dataclass(frozen=True)
class ModelInfo:
    """Sizes of a model."""

    #: Depth, height and width of a view.
    view_shape: tuple[int, int, int]
    vision_tokens: int
    hidden_size: int
    vocabulary_size: int
    context_size: int
    parameter_count: int


class Views(TypedDict):
    """The six arrays the network sees, each of ``ModelInfo.view_shape`` (z, y, x), and how they were made."""

    pet: NDArray[np.float32]
    mask: NDArray[np.float32]
    ct: NDArray[np.float32]
    pet_focal: NDArray[np.float32]
    mask_focal: NDArray[np.float32]
    ct_focal: NDArray[np.float32]
    geometry: dict[str, Any]
