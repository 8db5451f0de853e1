"""How lesions are described: settings, callbacks, one lesion or many."""

from __future__ import annotations

import ctypes as c
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Callable, Optional, Union

from . import _abi
from ._abi import library
from ._errors import PetarError, check, error
from ._exam import Exam, Volumes
from ._finding import Finding, read_finding
from ._native import Event, Handle, background, c_integer, c_string, interruptible

OnToken = Callable[[str, int], object]
OnProgress = Callable[[str, float], object]

#: What a lesion that has ended is called by its caller, and how it ended.
Ended = tuple[int, Union[Finding, PetarError]]


@dataclass(frozen=True)
class Request:
    """What ``Model.describe`` takes beside the exam."""

    question: Optional[str]
    max_tokens: Optional[int]
    temperature: float
    top_p: float
    seed: int
    on_token: Optional[OnToken]
    on_progress: Optional[OnProgress]

    def params(self, events: SimpleQueue[Optional[Event]]) -> _abi.DescribeParams:
        """The struct for the library, whose callbacks put events into the queue."""
        params = _abi.DescribeParams()
        library().petar_describe_params_init(c.byref(params), c.sizeof(params))
        params.question = None if self.question is None else c_string(self.question, "question")
        params.max_tokens = c_integer(self.max_tokens or 0, "max_tokens")
        params.temperature, params.top_p = self.temperature, self.top_p
        params.seed = c_integer(self.seed, "seed", 0, 2**64 - 1)
        if (token := self.on_token) is not None:

            def queue_token(_user_data: Optional[int], text: int, length: int, identifier: int) -> None:
                piece = c.string_at(text, length).decode("utf-8", "replace")
                events.put(lambda: token(piece, identifier))

            params.on_token = _abi.TokenFn(queue_token)
        if (progress := self.on_progress) is not None:

            def queue_progress(_user_data: Optional[int], stage: bytes, fraction: float) -> None:
                name = stage.decode()
                events.put(lambda: progress(name, fraction))

            params.on_progress = _abi.ProgressFn(queue_progress)
        return params


def describe(session: Handle, exam: Exam, request: Request) -> Finding:
    """One lesion."""
    volumes = Volumes()
    native = volumes.native(exam)
    events: SimpleQueue[Optional[Event]] = SimpleQueue()
    params = request.params(events)

    def work() -> Handle:
        return Handle(
            library().petar_finding_free,
            lambda out: int(library().petar_describe(session, c.byref(native), c.byref(params), out)),
        )

    return read_finding(interruptible(work, lambda: library().petar_session_cancel(session), events), exam.label)


def describe_batch(
    session: Handle, exams: Sequence[Exam], request: Request, width: Optional[int], volumes: Volumes
) -> Generator[Ended, None, None]:
    """Many lesions, each with its index, in the order in which they end."""
    ended: deque[tuple[int, Union[Handle, PetarError]]] = deque()
    indices: list[int] = []
    natives: list[_abi.Exam] = []
    for index, exam in enumerate(exams):
        try:
            natives.append(volumes.native(exam))
            indices.append(index)
        except PetarError as failure:
            ended.append((index, failure))

    def results() -> Generator[Ended, None, None]:
        while ended:
            index, result = ended[0]
            finding = read_finding(result, exams[index].label) if isinstance(result, Handle) else result
            ended.popleft()  # not earlier: an interrupt must not lose it
            yield index, finding

    events: SimpleQueue[Optional[Event]] = SimpleQueue()
    params = request.params(events)
    reported = 0

    def on_finding(_user_data: Optional[int], at: int, status: int, message: bytes, finding: Optional[int]) -> None:
        nonlocal reported
        reported += 1
        if finding is not None:
            ended.append((indices[at], Handle.owning(library().petar_finding_free, finding)))
        else:
            ended.append((indices[at], error(status, message.decode("utf-8", "replace"))))
        events.put(lambda: None)

    batch = _abi.BatchParams()
    library().petar_batch_params_init(c.byref(batch), c.sizeof(batch))
    batch.width = c_integer(width or 0, "width")
    batch.on_finding = _abi.FindingFn(on_finding)
    array = (_abi.Exam * len(natives))(*natives)

    def work() -> None:
        status = library().petar_describe_batch(session, array, len(array), c.byref(params), c.byref(batch))
        # With valid arguments every lesion is reported, and what failed is among the results.
        if reported < len(array):
            check(status)

    yield from results()
    try:
        with background(work, lambda: library().petar_session_cancel(session), events) as outcome:
            while (event := events.get()) is not None:
                event()
                yield from results()
        outcome.result()
    except GeneratorExit:
        raise
    except BaseException:
        # Interrupted: what had been finished by then is not lost.
        yield from (each for each in results() if isinstance(each[1], Finding))
        raise
