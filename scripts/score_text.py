"""Score what a model said as text: BLEU, ROUGE-L and CIDEr of the findings of `petar-train evaluate --out FOLDER`.

    python scripts/score_text.py FOLDER/predictions.jsonl [--json]

All run from 0 to 1, CIDEr to 10, and are of the whole set:

bleu_4, bleu_1   sacrebleu: 13a tokens, n-grams up to 4 and words alone, no smoothing, case counts
rouge_l          rouge-score: mean F of the longest common subsequence, lower-cased, no stemmer
cider            pycocoevalcap: n-grams up to 4, sigma 6, times 10, document frequencies of the set's own answers. Words
                 are lower-cased and stand without punctuation, as the original's tokenizer leaves them.

Needs sacrebleu, rouge-score and pycocoevalcap (Tests/python/requirements.txt); no Java.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from pycocoevalcap.cider.cider import Cider  # type: ignore[import-untyped]
from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped]
from sacrebleu.metrics.bleu import BLEU


def bleu(said: Sequence[str], truth: Sequence[str], order: int) -> float:
    metric = BLEU(max_ngram_order=order, smooth_method="none", tokenize="13a")
    return float(metric.corpus_score(list(said), [list(truth)]).score) / 100


def rouge_l(said: Sequence[str], truth: Sequence[str]) -> float:
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    scores = [scorer.score(right, text)["rougeL"].fmeasure for text, right in zip(said, truth)]
    return float(sum(scores) / len(scores))


def cider(said: Sequence[str], truth: Sequence[str]) -> float:
    def words(texts: Sequence[str]) -> dict[int, list[str]]:
        return {index: [" ".join(re.findall(r"\w+(?:-\w+)*", text.lower()))] for index, text in enumerate(texts)}

    score, _ = Cider(n=4, sigma=6.0).compute_score(words(truth), words(said))
    return float(score)


def read(path: Path) -> tuple[list[str], list[str], int]:
    """Texts, their truths, and the number of findings without a text because their exam was broken."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    findings = [line for line in lines if line["task"] == "finding"]
    there = [line for line in findings if "prediction" in line]
    return [line["prediction"] for line in there], [line["answer"] for line in there], len(findings) - len(there)


def main() -> int:
    parser = argparse.ArgumentParser(description="BLEU, ROUGE-L and CIDEr of the findings in predictions.jsonl")
    parser.add_argument("predictions", type=Path)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    try:
        said, truth, failed = read(arguments.predictions)
    except OSError as error:
        print(f"score_text: {error}", file=sys.stderr)
        return 1
    except (ValueError, KeyError, TypeError) as error:
        print(f"score_text: {arguments.predictions} is no predictions.jsonl: {error!r}", file=sys.stderr)
        return 1
    if not said:
        print(f"score_text: {arguments.predictions} has no findings", file=sys.stderr)
        return 1
    scores = {
        "bleu_4": bleu(said, truth, 4),
        "bleu_1": bleu(said, truth, 1),
        "rouge_l": rouge_l(said, truth),
        "cider": cider(said, truth),
    }
    packages = {name: version(name) for name in ("sacrebleu", "rouge-score", "pycocoevalcap")}
    if arguments.json:
        print(json.dumps({**scores, "findings": len(said), "failed": failed, "packages": packages}))
        return 0
    print(f"{len(said)} findings" + (f", {failed} more without a text" if failed else ""))
    for name, score in scores.items():
        print(f"{name:8} {score:.3f}")
    print("with " + ", ".join(" ".join(package) for package in packages.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
