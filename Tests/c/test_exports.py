"""What libpetar.so shows the linker: only what petar.h declares, and only what a hospital's machine has anyway.

Usage: test_exports.py LIBRARY. Needs nm and readelf, nothing else.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
HEADER = HERE.parents[1] / "Include" / "petar.h"
ALLOWED = {
    "libc.so.6", "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1", "libz.so.1", "libzstd.so.1", "ld-linux-x86-64.so.2",
}  # fmt: skip
LARGEST = 8 * 1000 * 1000


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def declared(header: Path) -> set[str]:
    code = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.DOTALL)
    return set(re.findall(r"^[a-z][\w ]*?[ *](petar_\w+)\(", code, flags=re.MULTILINE))


def main() -> int:
    library = Path(sys.argv[1]).resolve()
    committed = set((HERE / "exports.txt").read_text().split())
    symbols = (line.split() for line in run("nm", "-D", "--defined-only", str(library)).splitlines())
    # A small letter is a symbol that only the library itself can see.
    exported = {name.split("@")[0] for _, kind, name in symbols if not kind.islower()}
    dynamic = run("readelf", "-d", str(library))
    needed = set(re.findall(r"\(NEEDED\).*\[(.*?)\]", dynamic))
    problems = [
        *(f"{name} is declared in petar.h, but not in exports.txt" for name in sorted(declared(HEADER) - committed)),
        *(f"{name} is in exports.txt, but not declared in petar.h" for name in sorted(committed - declared(HEADER))),
        *(f"{name} is exported, but not in exports.txt" for name in sorted(exported - committed)),
        *(f"{name} is in exports.txt, but not exported" for name in sorted(committed - exported)),
        *(f"needs {name}, which a plain system may not have" for name in sorted(needed - ALLOWED)),
    ]
    if "(SONAME)" not in dynamic or "[libpetar.so.0]" not in dynamic:
        problems.append("the soname is not libpetar.so.0")
    paths = re.findall(r"\((?:RPATH|RUNPATH)\).*\[(.*?)\]", dynamic)
    if set(paths) - {"$ORIGIN"}:
        problems.append(f"searches for libraries where the machine it was built on had them: {paths}")
    if library.stat().st_size > LARGEST:
        problems.append(f"has {library.stat().st_size} bytes, more than {LARGEST}")
    for problem in problems:
        print(f"{library.name}: {problem}", file=sys.stderr)
    print(f"test_exports: {len(exported)} symbols, {library.stat().st_size} bytes, {len(problems)} failed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
