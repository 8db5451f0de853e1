"""`pip install ./Bindings/python` gives a package that brings its library along."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path


def test_installed_package_carries_the_library(root: Path, library_path: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(root / "Bindings" / "python", source, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    target = tmp_path / "site"
    # The build needs nothing but setuptools, which the test environment has: no network.
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    environment = {**os.environ, "PETAR_LIBRARY": str(library_path)}
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True, env=environment)

    assert (target / "petar" / "libpetar.so.0").read_bytes() == library_path.read_bytes()
    assert (target / "petar" / "py.typed").exists()
    (wheel,) = target.glob("petar-*.dist-info/WHEEL")
    assert "Tag: py3-none-linux" in wheel.read_text()

    elsewhere = {name: value for name, value in os.environ.items() if name != "PETAR_LIBRARY"}
    code = "import petar; print(petar.__file__, petar.version())"
    printed = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**elsewhere, "PYTHONPATH": str(target)},
    ).stdout
    assert printed.split()[0].startswith(str(target))
