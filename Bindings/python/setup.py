"""Puts a copy of libpetar into the package when there is one: PETAR_LIBRARY, or what `make` built in this tree."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
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
        target.unlink(missing_ok=True)
        if library is not None:
            shutil.copyfile(library, target)


class WheelWithLibrary(bdist_wheel):
    """For this platform if the wheel carries the library, for any if it will look for one; for every Python 3."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.root_is_pure = native_library() is None

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": WheelWithLibrary})
