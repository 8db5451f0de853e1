"""scripts/ablation.py with tools that only say that they were called: order, going on after a stop, the page."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

# Called like petar-train and petar-convert. Each call is a line of calls.txt; the organ is right in SEED x 10 %.
TOOL = """#!{python} -IS
import json, pathlib, sys
here, words = pathlib.Path(__file__).parent, sys.argv[1:]
def value(name): return pathlib.Path(words[words.index(name) + 1])
with (here / "calls.txt").open("a") as calls: calls.write(json.dumps(words) + "\\n")
if words[0] == "phantom": value("--out").mkdir()
elif words[0] == "run":
    if (here / "stop").exists() and value("--out").parent.name == (here / "stop").read_text(): sys.exit(1)
    value("--out").mkdir(exist_ok=True)
elif words[0] == "evaluate":
    value("--out").mkdir()
    seed = int(value("--out").parent.name[-1])
    fields = ("organ", "laterality", "attributes_mean", "ct", "text")
    scores = {{"findings": {{name: {{"share": seed / 10}} for name in fields}}}}
    (value("--out") / "scores.json").write_text(json.dumps(scores))
else: value("-o").touch()
"""


@pytest.fixture
def ablation(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with `tmp_path / "bin"` for its tools and a score_text.py that says 0.5 to everything."""
    spec = importlib.util.spec_from_file_location("ablation", root / "scripts" / "ablation.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    for folder in ("bin", "scripts"):
        (tmp_path / folder).mkdir()
    for name in ("petar-train", "petar-convert"):
        tool = tmp_path / "bin" / name
        tool.write_text(TOOL.format(python=sys.executable))
        tool.chmod(0o755)
    (tmp_path / "scripts" / "score_text.py").write_text('print(\'{"bleu_4": 0.5, "cider": 0.5}\')')
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return module


def calls(folder: Path, command: str) -> list[list[str]]:
    lines = map(json.loads, (folder / "bin" / "calls.txt").read_text().splitlines())
    return [words for words in lines if words[0] == command]


def test_order_stop_and_page(ablation: ModuleType, tmp_path: Path) -> None:
    work = ablation.Ablation(tmp_path / "bin", tmp_path / "out", 1)
    (tmp_path / "bin" / "stop").write_text("focal-1")
    with pytest.raises(SystemExit, match="goes on from here"):
        work.run()
    (tmp_path / "bin" / "stop").unlink()
    table = work.run()

    # Seed after seed; what was there was not done again.
    names = ["none", "mask", "ct", "focal", "mask-focal", "ct-focal", "mask-ct-focal", "mask-ct-focal-organs"]
    evaluated = [Path(words[words.index("--out") + 1]).parent.name for words in calls(tmp_path, "evaluate")]
    assert sorted(evaluated) == sorted(set(evaluated)) and len(evaluated) == 24
    assert evaluated[:3] == ["none-1", "mask-1", "ct-1"]
    again = evaluated[evaluated.index("focal-1") :]
    wanted = [f"{name}-{seed}" for seed in (1, 2, 3) for name in names]
    assert again == [name for name in wanted if name in again]
    assert len(calls(tmp_path, "phantom")) == 2
    runs = {Path(words[words.index("--out") + 1]).parent.name: words for words in calls(tmp_path, "run")}
    assert "--without" not in runs["mask-ct-focal-2"] and runs["focal-3"][-2:] == ["--without", "mask,ct"]
    for name, organs in (("mask-ct-focal-1", False), ("mask-ct-focal-organs-1", True)):
        stages = json.loads((tmp_path / "out" / name / "recipe.json").read_text())["stages"]
        assert any(stage["name"] == "organs" for stage in stages) == organs

    rows = [line.split(" | ") for line in ablation.page(table).splitlines() if "±" in line]
    assert [row[:4] for row in rows][-1] == ["| x", "x", "x", "x"] and len(rows) == len(names)
    # 10, 20 and 30 %.
    assert all(row[4] == "20.0 ± 10.0" and row[9] == "0.500 ± 0.000" for row in rows)
    ablation.draw(table, tmp_path / "figures" / "ablation.png")
    assert (tmp_path / "figures" / "ablation.png").read_bytes()[:4] == b"\x89PNG"
