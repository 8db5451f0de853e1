"""Models and what can be asked of them."""

from __future__ import annotations

import contextlib
import ctypes as c
import functools
import logging
import os
import threading
from collections.abc import Generator, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Optional, Union

import numpy as np
from numpy.typing import NDArray

from . import _abi
from ._abi import Status, ViewArray, library
from ._describe import OnProgress, OnToken, Request, describe, describe_batch
from ._errors import PetarError, check, error
from ._exam import Exam, Reading, Volumes
from ._finding import Finding, ModelInfo, Views
from ._native import Handle, c_ids, c_integer, c_path, c_string, fill, interruptible, read_ids, read_object, read_text
from ._volumes import VolumeSource

if TYPE_CHECKING:
    from typing_extensions import Unpack

_logger = logging.getLogger("petar")


def _forward_log(_user_data: Optional[int], _level: int, message: bytes) -> None:
    _logger.warning("%s", message.decode("utf-8", "replace"))


# Kept for the life of the process, as the library may call it as long as a model lives.
_log = _abi.LogFn(_forward_log)


class Model:
    """A .petar file, opened.

    Safe to use from any number of threads. A call takes an idle session with the wanted number of threads, or a new
    one, and keeps it for the next call: two calls at a time run side by side, each with its own key/value cache and
    native threads. ``close`` (or leaving the ``with`` block) lets go of them; calls already running finish.

    Ctrl-C ends a running call within one layer's time. ``on_token`` and ``on_progress`` run on the calling thread;
    what they raise cancels the call and reaches the caller.

    Warnings from the library go to the logger "petar".
    """

    def __init__(self, path: Union[str, os.PathLike[str]], *, isa: Optional[str] = None, verify: bool = False) -> None:
        """Opens a model.

        :param isa: forces an instruction set, one of ``build_info()["instruction_sets"]``; None: ``PETAR_ISA`` from
            the environment, else the best the machine has.
        :param verify: compare every tensor with its checksum first, which reads the whole file.
        """
        params = _abi.ModelParams()
        library().petar_model_params_init(c.byref(params), c.sizeof(params))
        params.isa = None if isa is None else c_string(isa, "isa")
        params.verify = int(verify)
        encoded = c_path(path)
        self._lock = threading.Lock()
        self._idle: dict[int, list[Handle]] = {}
        self._handle: Optional[Handle] = Handle(
            library().petar_model_free, lambda out: int(library().petar_model_open(encoded, c.byref(params), out))
        )

    def close(self) -> None:
        """Lets go of the file and of all idle sessions."""
        with self._lock:
            self._handle = None
            self._idle.clear()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    # ---- Describe ----

    def describe(
        self,
        pet: VolumeSource,
        ct: VolumeSource,
        mask: VolumeSource,
        *,
        label: int = 0,
        question: Optional[str] = None,
        max_tokens: Optional[int] = None,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        on_token: Optional[OnToken] = None,
        on_progress: Optional[OnProgress] = None,
        threads: Optional[int] = None,
        **reading: Unpack[Reading],
    ) -> Finding:
        """Describes one lesion of one exam.

        :param pet: PET in SUV, or as ``pet_unit`` says. PET, CT and mask may have different grids.
        :param ct: CT in HU.
        :param mask: mask or label map.
        :param label: the lesion in a label map; 0: everything that is not background.
        :param question: None: the model's own.
        :param max_tokens: longest answer; None: the model's own.
        :param temperature: 0: greedy; ``top_p`` and ``seed`` count only above.
        :param on_token: called with each piece of the finding as it is written, and its token id. The text may be
            empty while a character is incomplete; the id is -1 for the end of an unfinished one.
        :param on_progress: called with a stage ("prepare", "encode", "prefill", "decode") and its fraction done.
        :param threads: None: as many as this process has processors.
        :param reading: ``ct_outside``, ``pet_unit`` and ``suv_factor``: see ``Exam``.
        :raises PetarError: one of its subclasses says what was wrong.
        """
        exam = Exam(pet, ct, mask, label, **reading)
        request = Request(question, max_tokens, temperature, top_p, seed, on_token, on_progress)
        with self._session(threads) as session:
            return describe(session, exam, request)

    def describe_batch(
        self,
        exams: Sequence[Exam],
        *,
        width: Optional[int] = None,
        question: Optional[str] = None,
        max_tokens: Optional[int] = None,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        on_progress: Optional[OnProgress] = None,
        threads: Optional[int] = None,
    ) -> Generator[tuple[int, Union[Finding, PetarError]], None, None]:
        """Describes many lesions side by side, in much less time than one by one; each gets the text it gets alone.

        Yields ``(index, finding)`` as soon as a lesion is finished, in the order in which they end, while the others go
        on; or ``(index, error)``, a ``PetarError``, for one that cannot be described, which stops none of the others.
        The work begins with the first ``next`` and ends when the generator is closed. After Ctrl-C it still yields
        what has been finished, then raises ``KeyboardInterrupt``.

        :param exams: lesions of one exam or of several. A path, image or array that several of them name is read once;
            all are in memory together.
        :param width: lesions written side by side, 1 to 16; None: 8. More are faster and take more memory.
        :param on_progress: as for ``describe``, counting all lesions together.
        """
        request = Request(question, max_tokens, temperature, top_p, seed, None, on_progress)
        with self._session(threads) as session:
            yield from describe_batch(session, exams, request, width, Volumes())

    def describe_each_label(
        self,
        pet: VolumeSource,
        ct: VolumeSource,
        mask: VolumeSource,
        *,
        labels: Optional[Sequence[int]] = None,
        width: Optional[int] = None,
        question: Optional[str] = None,
        max_tokens: Optional[int] = None,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        on_progress: Optional[OnProgress] = None,
        threads: Optional[int] = None,
        **reading: Unpack[Reading],
    ) -> Generator[tuple[int, Union[Finding, PetarError]], None, None]:
        """Describes the lesions of a label map side by side: ``(label, finding)`` or ``(label, error)`` as each ends.

        Otherwise as ``describe_batch``.

        :param labels: which lesions; None: all that are in the mask.
        :raises EmptyMask: the mask has no lesion.
        """
        exam, volumes = Exam(pet, ct, mask, **reading), Volumes()
        request = Request(question, max_tokens, temperature, top_p, seed, None, on_progress)
        if labels is None:
            labels = read_ids(functools.partial(library().petar_volume_labels, volumes.mask(exam))).tolist()
            if not labels:
                raise error(Status.EMPTY_MASK, "mask: every voxel is background, so there is no lesion to describe")
        exams = [replace(exam, label=label) for label in labels]
        with self._session(threads) as session:
            for index, result in describe_batch(session, exams, request, width, volumes):
                yield labels[index], result

    # ---- Step by step ----

    def prepare(
        self,
        pet: VolumeSource,
        ct: VolumeSource,
        mask: VolumeSource,
        *,
        label: int = 0,
        threads: Optional[int] = None,
        **reading: Unpack[Reading],
    ) -> Views:
        """The six arrays the network would see, and how they were made. Takes what ``describe`` takes."""
        exam = Exam(pet, ct, mask, label, **reading)
        with self._session(threads) as session:
            views = self._prepare(session, exam)
        shape = self.info.view_shape

        def array(which: ViewArray) -> NDArray[np.float32]:
            return fill(np.empty(shape, np.float32), functools.partial(library().petar_views_array, views, int(which)))

        return Views(
            pet=array(ViewArray.PET),
            mask=array(ViewArray.MASK),
            ct=array(ViewArray.CT),
            pet_focal=array(ViewArray.PET_FOCAL),
            mask_focal=array(ViewArray.MASK_FOCAL),
            ct_focal=array(ViewArray.CT_FOCAL),
            geometry=read_object(functools.partial(library().petar_views_geometry, views)),
        )

    def encode(
        self,
        pet: VolumeSource,
        ct: VolumeSource,
        mask: VolumeSource,
        *,
        label: int = 0,
        threads: Optional[int] = None,
        **reading: Unpack[Reading],
    ) -> NDArray[np.float32]:
        """The vision tokens, (vision tokens, hidden size). Takes what ``describe`` takes."""
        exam = Exam(pet, ct, mask, label, **reading)
        info = self.info
        tokens = np.empty((info.vision_tokens, info.hidden_size), np.float32)
        with self._session(threads) as session:
            views = self._prepare(session, exam)
            return interruptible(
                lambda: fill(tokens, functools.partial(library().petar_encode, session, views)),
                lambda: library().petar_session_cancel(session),
            )

    def logits(
        self,
        ids: Sequence[int],
        vision: Optional[NDArray[np.float32]] = None,
        last: int = 1,
        *,
        threads: Optional[int] = None,
    ) -> NDArray[np.float32]:
        """Next-token logits after each of the last ``last`` positions, (last, vocabulary).

        :param ids: the whole sequence, see ``prompt``; its image tokens are replaced, in order, by the rows of
            ``vision``.
        """
        sequence = c_ids(ids)
        rows = None if vision is None else np.ascontiguousarray(vision, np.float32)
        if last < 1 or last > sequence.size:
            raise ValueError(f"last is {last}, but there are {sequence.size} positions")
        out = np.empty((last, self.info.vocabulary_size), np.float32)
        with self._session(threads) as session:
            return interruptible(
                lambda: fill(
                    out,
                    functools.partial(
                        library().petar_logits,
                        session,
                        None if rows is None else rows.ctypes.data,
                        0 if rows is None else rows.size,
                        sequence.ctypes.data,
                        sequence.size,
                        last,
                    ),
                ),
                lambda: library().petar_session_cancel(session),
            )

    def _prepare(self, session: Handle, exam: Exam) -> Handle:
        volumes = Volumes()
        native = volumes.native(exam)
        return interruptible(
            lambda: Handle(
                library().petar_views_free,
                lambda out: int(library().petar_prepare(session, c.byref(native), out)),
            ),
            lambda: library().petar_session_cancel(session),
        )

    # ---- Text ----

    def tokenize(self, text: str, add_bos: bool = True) -> list[int]:
        """Token ids of a text, as the checkpoint's own tokenizer makes them; begin-of-text first if ``add_bos``."""
        model, encoded = self._model(), c_string(text, "text")
        ids: list[int] = read_ids(
            lambda buffer, count: int(library().petar_tokenize(model, encoded, int(add_bos), buffer, count))
        ).tolist()
        return ids

    def detokenize(self, ids: Sequence[int], keep_special: bool = False) -> str:
        """The text of token ids; control tokens such as ``</s>`` are written out if ``keep_special``."""
        model, sequence = self._model(), c_ids(ids)
        return read_text(
            lambda buffer, size: int(
                library().petar_detokenize(model, sequence.ctypes.data, sequence.size, int(keep_special), buffer, size)
            )
        )

    def prompt(self, question: Optional[str] = None) -> list[int]:
        """The ids the decoder is given: begin-of-text, one image token for each vision token, the question."""
        model, encoded = self._model(), None if question is None else c_string(question, "question")
        ids: list[int] = read_ids(
            lambda buffer, count: int(library().petar_model_prompt(model, encoded, buffer, count))
        ).tolist()
        return ids

    # ---- About ----

    @functools.cached_property
    def metadata(self) -> dict[str, Any]:
        """Name, hash, weights type, architecture, prompt, generation defaults, provenance and licence."""
        return read_object(functools.partial(library().petar_model_metadata, self._model()))

    @functools.cached_property
    def info(self) -> ModelInfo:
        """The sizes of the model."""
        native = _abi.ModelInfo(struct_size=c.sizeof(_abi.ModelInfo))
        check(library().petar_model_get_info(self._model(), c.byref(native)))
        depth, height, width = native.view_shape
        return ModelInfo(
            view_shape=(depth, height, width),
            vision_tokens=native.vision_tokens,
            hidden_size=native.hidden_size,
            vocabulary_size=native.vocabulary_size,
            context_size=native.context_size,
            parameter_count=native.parameter_count,
        )

    # ---- Sessions ----

    def _model(self) -> Handle:
        handle = self._handle
        if handle is None:
            raise ValueError("the model is closed")
        return handle

    @contextlib.contextmanager
    def _session(self, threads: Optional[int]) -> Generator[Handle, None, None]:
        """A session nobody else uses, given back at the end."""
        count = c_integer(threads or 0, "threads")
        model = self._model()
        with self._lock:
            idle = self._idle.get(count)
            session = idle.pop() if idle else None
        if session is None:
            params = _abi.SessionParams()
            library().petar_session_params_init(c.byref(params), c.sizeof(params))
            params.threads = count
            params.log = _log
            session = Handle(
                library().petar_session_free,
                lambda out: int(library().petar_session_create(model, c.byref(params), out)),
            )
        try:
            yield session
        finally:
            with self._lock:
                if self._handle is not None:
                    self._idle.setdefault(count, []).append(session)
