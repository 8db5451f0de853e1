"""petar-bench: what its report holds, that its numbers agree with each other, and how it refuses."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import petar
import pytest
from pytest import approx

WIDTHS = [1, 2, 4, 8, 16]
#: The second is written; the others are known before.
FINDINGS = ["mass in the left lung SUVmax 8.1", "mass in the left lung SUVmax 7.4", "node"]


@pytest.fixture(scope="module")
def bench(bin_dir: Path) -> Any:
    def run(*arguments: object, isa: str | None = None) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name != "PETAR_ISA"}
        command = [str(bin_dir / "petar-bench"), *map(str, arguments)]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=environment if isa is None else {**environment, "PETAR_ISA": isa},
        )

    return run


@pytest.fixture(scope="module")
def model_file(models_dir: Path) -> Path:
    return models_dir / "demo-q8.petar"


@pytest.fixture(scope="module")
def report(bench: Any, model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    findings = tmp_path_factory.mktemp("bench") / "findings.txt"
    findings.write_text("\n".join(FINDINGS) + "\n")
    result = bench(model_file, "--threads", 1, "--repeat", 1, "--json", "--findings", findings)
    assert result.returncode == 0, result.stderr
    value: dict[str, Any] = json.loads(result.stdout)
    return value


def stages(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Stages by name; "prefill" without the number of positions."""
    return {
        stage["name"].replace(f", {report['configuration']['positions']} positions", ""): stage
        for stage in report["stages"]
    }


# ---- The report ----


def test_report_says_what_was_measured(report: dict[str, Any], model_file: Path) -> None:
    assert set(report) == {"library", "configuration", "machine", "limits_between_stages", "stages", "drafts", "memory"}
    assert report["library"] == petar.build_info()
    configuration = report["configuration"]
    assert configuration["threads"] == 1 and configuration["repeats"] == 1 and configuration["processors"] >= 1
    assert configuration["instruction_set"] == petar.build_info()["default_instruction_set"]
    assert configuration["weights"] == "q8" and configuration["file_bytes"] == model_file.stat().st_size
    with petar.Model(model_file) as model:
        assert configuration["model"] == model.metadata["name"]
        assert configuration["model_hash"] == model.metadata["hash"]
        assert configuration["positions"] >= len(model.prompt())
        assert configuration["positions"] + configuration["tokens"] <= model.info.context_size


def test_every_stage_is_there(report: dict[str, Any]) -> None:
    positions = report["configuration"]["positions"]
    assert [stage["name"] for stage in report["stages"]] == [
        "load",
        "encode, PET pass",
        "encode, CT pass",
        "encode",
        f"prefill, {positions} positions",
        "decode, batch 1",
        "lesion",
        *(f"step of {width} text{'s' if width > 1 else ''}" for width in WIDTHS),
        "findings, no drafts",
        "findings, drafts",
    ]
    for stage in report["stages"]:
        assert 0 < stage["seconds_min"] <= stage["seconds"] <= stage["seconds_max"]
        # Loading and writing given findings have no limit.
        limited = stage["name"] != "load" and "findings" not in stage["name"]
        assert ("limit_seconds" in stage) == ("fraction_of_limit" in stage) == limited


def test_machine_is_measured_for_each_number_of_threads(report: dict[str, Any]) -> None:
    assert {"read_bytes", "int8_operations", "f32_operations"} <= set(report["machine"])
    for rates in report["machine"].values():
        assert [rate["threads"] for rate in rates] == [1]
        assert all(0 < rate["per_second_min"] <= rate["per_second"] <= rate["per_second_max"] for rate in rates)
    between = report["limits_between_stages"]
    assert between["compute"] == "int8_operations"
    for name in ("compute_per_second", "read_bytes_per_second"):
        assert 0 < between[f"{name}_min"] <= between[name] <= between[f"{name}_max"]


# ---- Numbers that agree ----


def test_fractions_are_those_of_times_and_limits(report: dict[str, Any]) -> None:
    for stage in report["stages"]:
        if "limit_seconds" not in stage:
            continue
        least, middle, most = (stage[f"fraction_of_limit{end}"] for end in ("_min", "", "_max"))
        assert 0 < least <= middle <= most
        if stage["runs"] == 1:
            assert least == middle == most == approx(stage["limit_seconds"] / stage["seconds"])
        elif stage["name"] != "decode, batch 1":  # whose limit is measured again every few tokens
            assert least == approx(stage["limit_seconds"] / stage["seconds_max"])
            assert most == approx(stage["limit_seconds"] / stage["seconds_min"])


def test_rates_are_tokens_over_times(report: dict[str, Any]) -> None:
    tokens = {f"step of {width} text{'s' if width > 1 else ''}": width for width in WIDTHS}
    tokens |= {"prefill": report["configuration"]["positions"], "decode, batch 1": 1}
    for name, stage in stages(report).items():
        assert stage.get("tokens_per_second") == (approx(tokens[name] / stage["seconds"]) if name in tokens else None)


def test_parts_add_up(report: dict[str, Any]) -> None:
    stage = stages(report)
    encode, prefill, decode, lesion = (stage[name] for name in ("encode", "prefill", "decode, batch 1", "lesion"))
    # The median of two passes is half their sum. The projector comes on top.
    for key in ("seconds", "limit_seconds"):
        assert 2 * (stage["encode, PET pass"][key] + stage["encode, CT pass"][key]) <= encode[key] * (1 + 1e-9)
    # The first token comes out of the prompt.
    assert 0 < decode["runs"] < report["configuration"]["tokens"]
    steps = lesion["seconds"] - encode["seconds"] - prefill["seconds"]
    assert decode["seconds_min"] * decode["runs"] <= steps * (1 + 1e-9)
    assert steps <= decode["seconds_max"] * decode["runs"] * (1 + 1e-9)
    memory = report["memory"]
    assert memory["peak_resident_bytes"] - memory["above_file_bytes"] == report["configuration"]["file_bytes"]
    assert memory["peak_resident_bytes"] > 0


def test_each_number_of_threads_is_measured(bench: Any, model_file: Path) -> None:
    result = bench(model_file, "--threads", 2, "--repeat", 1, "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["configuration"]["threads"] == 2 and report["drafts"] is None
    for rates in report["machine"].values():
        assert [rate["threads"] for rate in rates] == [1, 2]


def test_the_table_has_every_stage(bench: Any, report: dict[str, Any], model_file: Path) -> None:
    result = bench(model_file, "--threads", 1, "--repeat", 1)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    for stage in report["stages"]:
        if "findings" not in stage["name"]:
            assert [line for line in lines if line.startswith(stage["name"] + "  ")], stage["name"]
    assert "of limit" in result.stdout and "peak resident memory: " in result.stdout


def test_drafts_are_counted(report: dict[str, Any]) -> None:
    drafts = report["drafts"]
    assert drafts["tokens"] == len(FINDINGS[1].split())
    # The known finding has the first words of this one.
    assert 1 < drafts["decoder_passes"] < drafts["tokens"]
    assert drafts["gain"] == approx(
        stages(report)["findings, no drafts"]["seconds"] / stages(report)["findings, drafts"]["seconds"]
    )


# ---- Refusals ----


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--json"], "FILE.petar is missing"),
        (["a.petar", "b.petar"], "b.petar"),
        (["a.petar", "--speed"], "--speed"),
        (["a.petar", "--threads"], "--threads needs a value"),
        (["a.petar", "--threads", "0"], "1...1024"),
        (["a.petar", "--threads", "two"], "--threads two"),
        (["a.petar", "--repeat", "101"], "1...100"),
    ],
)
def test_wrong_usage_is_refused_with_a_sentence(bench: Any, arguments: list[str], words: str) -> None:
    result = bench(*arguments)
    assert result.returncode == 2 and result.stdout == ""
    assert words in result.stderr and result.stderr.endswith("see petar-bench --help\n")


def test_help_and_version_are_no_failures(bench: Any) -> None:
    assert "--findings FILE" in bench("--help").stdout and bench("--help").returncode == 0
    assert bench("--version").stdout == f"petar-bench {petar.version()}\n"


@pytest.mark.parametrize("fault", ["absent", "empty", "cut", "no_model"])
def test_bad_files_are_refused_with_a_sentence(bench: Any, model_file: Path, tmp_path: Path, fault: str) -> None:
    path = tmp_path / "bad.petar"
    if fault != "absent":
        path.write_bytes({"empty": b"", "cut": model_file.read_bytes()[:5000], "no_model": b"text " * 2000}[fault])
    result = bench(path, "--threads", 1, "--repeat", 1, "--json")
    assert result.returncode == 1 and result.stdout == ""
    assert "bad.petar" in result.stderr and "machine" not in result.stderr


def test_unknown_instruction_sets_are_refused(bench: Any, model_file: Path) -> None:
    for result in (bench(model_file, "--isa", "imaginary"), bench(model_file, isa="imaginary")):
        assert result.returncode == 1 and "imaginary" in result.stderr and result.stdout == ""


@pytest.mark.parametrize("text", [None, "", "a single finding\n"])
def test_a_bad_file_of_findings_is_refused_before_the_long_work(
    bench: Any, model_file: Path, tmp_path: Path, text: str | None
) -> None:
    path = tmp_path / "findings.txt"
    if text is not None:
        path.write_text(text)
    result = bench(model_file, "--findings", path)
    assert result.returncode == 1 and result.stdout == ""
    assert "findings.txt" in result.stderr and "machine" not in result.stderr
