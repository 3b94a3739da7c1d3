"""The names users import: complete, sorted, documented, and loaded only when they are used."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import streamq
from streamq import errors

HOMES: dict[str, tuple[str, ...]] = vars(streamq)["_HOMES"]
PUBLIC_MODULES = sorted(
    path.stem for path in Path(streamq.__file__).parent.glob("*.py") if not path.stem.startswith("_")
)


def test_all_is_sorted_and_without_doubles() -> None:
    assert streamq.__all__ == sorted(set(streamq.__all__))
    assert dir(streamq) == streamq.__all__


def test_every_name_has_one_home_and_checkers_see_the_same_one() -> None:
    at_run_time = {(home, name) for home, names in HOMES.items() for name in names}
    source = ast.parse(Path(streamq.__file__).read_text())
    for_checkers = {
        (node.module, alias.name)
        for block in source.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert at_run_time == for_checkers
    assert sorted(name for _, name in at_run_time) == streamq.__all__
    assert list(HOMES) == sorted(HOMES)


@pytest.mark.parametrize("name", streamq.__all__)
def test_a_public_name_can_be_imported(name: str) -> None:
    home = next(home for home, names in HOMES.items() if name in names)
    assert getattr(streamq, name) is getattr(importlib.import_module(f"streamq.{home}"), name)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'streamq' has no attribute 'Quue'"):
        _ = vars(streamq)["__getattr__"]("Quue")
    with pytest.raises(ImportError):
        exec("from streamq import Quue")  # noqa: S102 - as a user would


def loaded_by(statement: str) -> set[str]:
    """The modules a fresh interpreter has after this statement and had not before."""
    program = f"import sys; before = set(sys.modules); {statement}; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    return set(done.stdout.split())


def test_importing_streamq_loads_nothing_but_itself() -> None:
    loaded = loaded_by("import streamq")
    foreign = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    assert loaded & {"asyncio", "redis", "msgspec", "ssl", "logging", "inspect"} == set()
    assert foreign == {"streamq"}
    assert {name for name in loaded if name.startswith("streamq")} == {"streamq"}


def test_errors_load_neither_redis_nor_asyncio() -> None:
    assert {"asyncio", "redis", "msgspec"} & loaded_by("from streamq.errors import JobDead") == set()


def test_a_producer_loads_no_worker() -> None:
    loaded = loaded_by("from streamq import Queue")
    assert {name for name in loaded if name.startswith(("streamq._runtime", "streamq.worker", "streamq._cli"))} == set()


def public_parts() -> dict[str, Any]:
    """Every public function, class, method and property of the public modules, by its dotted name."""
    found: dict[str, Any] = {}
    homes = [*(f"streamq.{name}" for name in PUBLIC_MODULES), *(f"streamq.{home}" for home in HOMES)]
    for home in homes:
        module = importlib.import_module(home)
        for name, value in vars(module).items():
            if name.startswith("_") or getattr(value, "__module__", None) != home:
                continue
            if inspect.isfunction(value) or inspect.isclass(value):
                found[f"{home}.{name}"] = value
            if inspect.isclass(value):
                methods = {key: part for key, part in vars(value).items() if not key.startswith("_")}
                found |= {
                    f"{home}.{name}.{key}": part
                    for key, part in methods.items()
                    if inspect.isfunction(part) or isinstance(part, property | classmethod | staticmethod)
                }
    return found


def test_everything_public_is_documented() -> None:
    parts = public_parts()
    assert len(parts) > 100
    assert [name for name, part in parts.items() if not (part.__doc__ or "").strip()] == []


def test_a_docstring_says_more_than_the_name() -> None:
    first_lines = {name: (part.__doc__ or "").strip().partition("\n")[0] for name, part in public_parts().items()}
    assert [name for name, line in first_lines.items() if len(line) < len("Name on the wire.")] == []
    assert [name for name, line in first_lines.items() if not line.rstrip().endswith((".", ":", ";", ","))] == []


def test_every_error_is_reached_through_one_base() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]
    assert all(issubclass(kind, streamq.StreamqError) for kind in kinds)
