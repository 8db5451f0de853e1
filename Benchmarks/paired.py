"""Runs petar-bench and its peers in turn and prints medians and ratios.

    python paired.py --petar "build/bin/petar-bench MODEL.petar --threads 2 --repeat 3 --json" \\
        --peer "python peers/decoder_llama_cpp.py run random.gguf" \\
        --peer "python peers/tower_onnx_runtime.py run tower.onnx"

The speed of a shared machine moves within minutes, so only runs that take turns can be compared: a ratio is the median
of the ratios of each round, with the least and the greatest.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
from typing import Any


def measured(command: str) -> dict[str, Any]:
    done = subprocess.run(shlex.split(command), check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def span(values: list[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}...{max(values):.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--petar", required=True, help="the command that prints petar-bench's JSON")
    parser.add_argument("--peer", action="append", required=True, help="a command that prints a peer's JSON")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    ours: list[dict[str, Any]] = []
    theirs: list[list[dict[str, Any]]] = [[] for _ in arguments.peer]
    for number in range(arguments.rounds):
        print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
        ours.append({stage["name"]: stage for stage in measured(arguments.petar)["stages"]})
        for runs, command in zip(theirs, arguments.peer):
            runs.append(measured(command))

    print("| stage | limit reached | petar, ms | peer | peer, ms | peer / petar |")
    print("|---|---|---|---|---|---|")
    for runs in theirs:
        for name in runs[0]["stages"]:
            full = next((stage for stage in ours[0] if stage.startswith(name)), None)
            if full is None:
                continue
            petar = [stages[full]["seconds"] * 1e3 for stages in ours]
            peer = [statistics.median(run["stages"][name]) * 1e3 for run in runs]
            ratios = [b / a for a, b in zip(petar, peer)]
            reached = [stages[full].get("fraction_of_limit", float("nan")) * 100 for stages in ours]
            limit = f"{span(reached, 0)} %" if name != "load" else "-"
            columns = [full, limit, span(petar, 1), runs[0]["peer"], span(peer, 1), span(ratios, 2)]
            print("| " + " | ".join(columns) + " |")


if __name__ == "__main__":
    main()
