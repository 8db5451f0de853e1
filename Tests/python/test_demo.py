"""The first command of the README."""

from __future__ import annotations

import subprocess
from pathlib import Path


def test_the_demo_says_what_the_phantoms_maker_says(root: Path) -> None:
    done = subprocess.run(["make", "demo"], cwd=root, check=True, capture_output=True, text=True)
    findings = [line for line in done.stdout.splitlines() if line.startswith("Region:")]
    assert len(findings) == 2 and findings[0] == findings[1], done.stdout
