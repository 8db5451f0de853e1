"""Native objects are freed with their last reference, and an interrupt that comes meanwhile is not lost."""

from __future__ import annotations

import ctypes
import gc
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from petar._native import Handle


def raising() -> Any:
    """A "free" that raises the signal whose number the object has for an address."""
    function = ctypes.CDLL(None)["raise"]
    function.restype, function.argtypes = None, [ctypes.c_void_p]
    return function


@pytest.mark.parametrize("in_cycle", [False, True])
def test_an_interrupt_while_an_object_is_freed_reaches_the_caller(in_cycle: bool) -> None:
    handle: Any = Handle.owning(raising(), signal.SIGINT)
    if in_cycle:
        handle.itself = handle
    with pytest.raises(KeyboardInterrupt):
        del handle
        gc.collect()
        time.sleep(10)  # so that a late interrupt does not hit another test


def test_what_could_not_be_made_frees_nothing() -> None:
    def fail(_out: Any) -> int:
        raise LookupError("not made")

    freed: list[object] = []
    with pytest.raises(LookupError, match="not made"):
        Handle(lambda pointer: freed.append(pointer.value), fail)
    assert freed in ([], [None])


def test_at_exit_freeing_is_left_to_the_end_of_the_process() -> None:
    program = (
        "import ctypes, signal\n"
        "from petar._native import Handle\n"
        "free = ctypes.CDLL(None)['raise']\n"
        "free.restype, free.argtypes = None, [ctypes.c_void_p]\n"
        "kept = Handle.owning(free, signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
    assert subprocess.run([sys.executable, "-c", program + "del kept\n"]).returncode == -signal.SIGKILL
