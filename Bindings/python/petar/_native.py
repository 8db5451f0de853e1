"""Native objects, buffers and calls that can be interrupted."""

from __future__ import annotations

import atexit
import contextlib
import ctypes as c
import functools
import json
import operator
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Callable, Optional, TypeVar, Union

import numpy as np
from numpy.typing import NDArray

from ._abi import library
from ._errors import check

Result = TypeVar("Result")
Event = Callable[[], object]


class Handle:
    """A native object, freed with the last reference to it.

    Freeing is left to the end of the process at exit: a daemon thread may still be inside a call then.
    """

    def __init__(self, free: Callable[[c.c_void_p], None], make: Callable[[Any], int]) -> None:
        pointer = c.c_void_p()
        self._free = functools.partial(free, pointer)
        check(make(c.byref(pointer)))
        self._as_parameter_ = pointer

    # Not a method: Ctrl-C is handled between steps of Python code, and a KeyboardInterrupt that a destructor raises is
    # ignored. This one takes no such step, so that the interrupt waits for the code that let go of the object.
    __del__ = property(operator.attrgetter("_free"))

    @classmethod
    def owning(cls, free: Callable[[c.c_void_p], None], address: int) -> Handle:
        """An object that a callback has handed over."""

        def make(out: Any) -> int:
            c.cast(out, c.POINTER(c.c_void_p))[0] = address
            return 0

        return cls(free, make)

    @property
    def address(self) -> Optional[int]:
        """The pointer, for a field of a struct."""
        return self._as_parameter_.value


# Registered before anything is made, so it comes last.
atexit.register(delattr, Handle, "__del__")


def read_text(call: Callable[[Any, Any], int]) -> str:
    """The string a ``(buffer, size)`` function hands out."""
    size = c.c_size_t(0)
    check(call(None, c.byref(size)))
    buffer = c.create_string_buffer(size.value)
    check(call(buffer, c.byref(size)))
    return buffer.raw[: max(size.value - 1, 0)].decode("utf-8")


def read_object(call: Callable[[Any, Any], int]) -> dict[str, Any]:
    """The JSON object a ``(buffer, size)`` function hands out."""
    value = json.loads(read_text(call))
    if not isinstance(value, dict):
        raise TypeError("libpetar did not return a JSON object")
    return value


def read_ids(call: Callable[[Any, Any], int]) -> NDArray[np.int32]:
    """The int32 array a ``(buffer, count)`` function hands out."""
    count = c.c_size_t(0)
    check(call(None, c.byref(count)))
    ids = np.empty(count.value, np.int32)
    check(call(ids.ctypes.data, c.byref(count)))
    return ids[: count.value]


def fill(array: NDArray[np.float32], call: Callable[[Any, Any], int]) -> NDArray[np.float32]:
    """Lets a ``(buffer, count)`` function fill an array whose size is known."""
    count = c.c_size_t(array.size)
    check(call(array.ctypes.data, c.byref(count)))
    return array


@contextlib.contextmanager
def background(
    work: Callable[[], Result], cancel: Callable[[], None], events: SimpleQueue[Optional[Event]]
) -> Iterator[Future[Result]]:
    """Runs ``work`` on a thread of its own while the block handles the events it queues, up to None.

    So Ctrl-C and whatever an event raises reach the caller. Leaving the block early ends the work by ``cancel``, and
    so does the end of the process.
    """
    outcome: Future[Result] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as failure:
            outcome.set_exception(failure)
        finally:
            events.put(None)

    worker = threading.Thread(target=run, name="petar", daemon=True)
    stop = functools.partial(_stop, worker, cancel)
    atexit.register(stop)
    try:
        worker.start()
        yield outcome
        worker.join()
    finally:
        stop()
        atexit.unregister(stop)


def interruptible(
    work: Callable[[], Result], cancel: Callable[[], None], events: Optional[SimpleQueue[Optional[Event]]] = None
) -> Result:
    """The result of ``work``, run as ``background`` does, with the events it queues run on the calling thread."""
    queue: SimpleQueue[Optional[Event]] = SimpleQueue() if events is None else events
    with background(work, cancel, queue) as outcome:
        while (event := queue.get()) is not None:
            event()
    return outcome.result()


def _stop(worker: threading.Thread, cancel: Callable[[], None]) -> None:
    # Again and again: a cancel that comes before the native call has begun does nothing. A second Ctrl-C must not
    # leave a call behind that still uses the session.
    while worker.is_alive():
        try:
            cancel()
            worker.join(0.05)
        except KeyboardInterrupt:
            continue


def c_string(text: str, what: str) -> bytes:
    """UTF-8 for a ``const char *``."""
    if "\0" in text:
        raise ValueError(f"{what} contains a NUL character")
    return text.encode("utf-8")


def c_path(path: Union[str, os.PathLike[str]]) -> bytes:
    """A path for a ``const char *``."""
    encoded = os.fsencode(path)
    if b"\0" in encoded:
        raise ValueError(f"the path {os.fspath(path)!r} contains a NUL character")
    return encoded


def c_integer(value: int, what: str, lower: int = -(2**31), upper: int = 2**31 - 1) -> int:
    """A whole number that fits its field, int32 unless told otherwise; ctypes would cut it to size without a word."""
    if not lower <= operator.index(value) <= upper:
        raise ValueError(f"{what} is {value}, not a whole number from {lower} to {upper}")
    return operator.index(value)


def c_ids(ids: Sequence[int]) -> NDArray[np.int32]:
    """Token ids as the library takes them."""
    given = np.asarray(ids)
    sequence = np.ascontiguousarray(given, np.int32)
    if not np.array_equal(sequence, given):
        raise ValueError("ids are not all whole numbers of 32 bits")
    return sequence


def version() -> str:
    """The version of the library that is loaded."""
    return str(library().petar_version().decode())


def build_info() -> dict[str, Any]:
    """What the library says of itself: version, ABI, instruction sets, zlib, zstd."""
    return read_object(library().petar_build_info)
