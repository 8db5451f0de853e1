"""Puts a copy of libpetar into the package when there is one: PETAR_LIBRARY, or what `make` built in this tree."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

SONAME = "libpetar.so.0"
BUILT = Path(__file__).resolve().parents[2] / "build" / "lib" / SONAME


def native_library() -> Path | None:
    chosen = os.environ.get("PETAR_LIBRARY")
    if chosen:
        return Path(chosen).resolve(strict=True)
    return BUILT.resolve() if BUILT.exists() else None


class BuildWithLibrary(build_py):
    def run(self) -> None:
        super().run()
        library = native_library()
        target = Path(self.build_lib) / "petar" / SONAME
        if library is not None:
            shutil.copyfile(library, target)
        elif target.exists():
            target.unlink()


class PlatformDistribution(Distribution):
    """A wheel for this platform if it carries the library, for any if it finds one on the system."""

    def has_ext_modules(self) -> bool:
        return native_library() is not None


setup(cmdclass={"build_py": BuildWithLibrary}, distclass=PlatformDistribution)
