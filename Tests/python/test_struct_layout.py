"""The ctypes definitions against the header, as the C compiler understands it."""

from __future__ import annotations

import ctypes
import re
import subprocess
from pathlib import Path

import petar
import pytest
from petar import _abi

STRUCTS: dict[str, type[ctypes.Structure]] = {
    "petar_model_params": _abi.ModelParams,
    "petar_model_info": _abi.ModelInfo,
    "petar_volume_params": _abi.VolumeParams,
    "petar_session_params": _abi.SessionParams,
    "petar_exam": _abi.Exam,
    "petar_describe_params": _abi.DescribeParams,
    "petar_batch_params": _abi.BatchParams,
}

ENUMS = {
    "PETAR_ERROR_": _abi.Status,
    "PETAR_UNIT_": _abi.Unit,
    "PETAR_CT_OUTSIDE_": _abi.CTOutside,
    "PETAR_VIEW_": _abi.ViewArray,
    "PETAR_": _abi.DataType,
}


@pytest.fixture(scope="module")
def header(root: Path) -> str:
    """petar.h without its comments."""
    return re.sub(r"/\*.*?\*/", "", (root / "Include" / "petar.h").read_text(), flags=re.DOTALL)


def compile_and_run(lines: list[str], root: Path, folder: Path) -> list[str]:
    source = folder / "probe.c"
    body = "\n".join(lines)
    source.write_text(f"#include <petar.h>\n#include <stdio.h>\nint main(void) {{\n{body}\nreturn 0;\n}}\n")
    program = folder / "probe"
    subprocess.run(["gcc", "-std=c11", "-I", str(root / "Include"), str(source), "-o", str(program)], check=True)
    return subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout.splitlines()


def header_structs(header: str) -> dict[str, list[str]]:
    found = re.findall(r"typedef struct (\w+) \{(.*?)\}", header, flags=re.DOTALL)
    return {name: re.findall(r"(\w+)(?:\[\d+\])?;", body) for name, body in found}


def test_structs_have_the_layout_of_the_header(header: str, root: Path, tmp_path: Path) -> None:
    fields = header_structs(header)
    assert fields == {name: [field[0] for field in struct._fields_] for name, struct in STRUCTS.items()}
    lines, ours = [], []
    for name, struct in STRUCTS.items():
        lines.append(f'printf("{name} %zu\\n", sizeof({name}));')
        ours.append(f"{name} {ctypes.sizeof(struct)}")
        for field in fields[name]:
            size = f"sizeof((({name} *)0)->{field})"
            lines.append(f'printf("{name}.{field} %zu %zu\\n", offsetof({name}, {field}), {size});')
            layout = getattr(struct, field)
            ours.append(f"{name}.{field} {layout.offset} {layout.size}")
    assert compile_and_run(lines, root, tmp_path) == ours


def test_enums_have_the_values_of_the_header(header: str, root: Path, tmp_path: Path) -> None:
    bodies = re.findall(r"typedef enum \w+ \{(.*?)\}", header, flags=re.DOTALL)
    names = [name for body in bodies for name in re.findall(r"(PETAR_\w+)\s*=", body)]
    printed = compile_and_run([f'printf("{name} %d\\n", {name});' for name in names], root, tmp_path)
    theirs = {name: int(value) for name, value in (line.split() for line in printed)}
    ours = {prefix + member.name: int(member) for prefix, enum in ENUMS.items() for member in enum}
    for plain in ("OK", "CANCELLED"):
        ours[f"PETAR_{plain}"] = ours.pop(f"PETAR_ERROR_{plain}")
    assert theirs == ours


def test_every_function_of_the_header_is_bound_with_its_arguments(header: str) -> None:
    declared = re.findall(r"^[a-z][\w ]*?[ *](petar_\w+)\((.*?)\);", header, flags=re.MULTILINE | re.DOTALL)
    counts = {name: 0 if arguments == "void" else arguments.count(",") + 1 for name, arguments in declared}
    assert counts == {name: len(types) - 1 for name, types in _abi.FUNCTIONS.items()}


def test_every_failure_has_an_exception() -> None:
    failures = {status for status in petar.Status if status != petar.Status.OK}
    assert set(petar.PetarError.by_status) == failures
    for status in failures:
        name = _abi.library().petar_status_name(status).decode()
        assert name.endswith(status.name)
