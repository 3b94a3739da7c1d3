"""The door: its names, what they cost to load, and what it says when something is not installed."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from typing import Any

import pytest

from streamq import testing

HOMES: dict[str, str] = vars(testing)["_HOMES"]


def loaded_by(statement: str) -> set[str]:
    program = f"import sys; before = set(sys.modules); {statement}; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    return set(done.stdout.split())


def test_every_name_has_a_home() -> None:
    assert sorted(HOMES) == list(HOMES) == testing.__all__ == dir(testing)
    for name, home in HOMES.items():
        assert getattr(testing, name) is getattr(importlib.import_module(f"streamq.testing.{home}"), name)
    with pytest.raises(AttributeError, match="has no attribute 'assert_enqueud'"):
        _ = vars(testing)["__getattr__"]("assert_enqueud")


def test_the_plugin_loads_nothing_heavy() -> None:
    loaded = loaded_by("import pytest; before = set(sys.modules); import streamq.testing.plugin")
    assert {name for name in loaded if name.startswith("streamq")} == {
        "streamq",
        "streamq.testing",
        "streamq.testing.plugin",
    }
    assert {name.partition(".")[0] for name in loaded} & {"redis", "lupa", "msgspec", "anyio", "hiredis"} == set()


def test_only_what_is_in_memory_needs_lupa() -> None:
    names = [name for name in testing.__all__ if name != "MemoryQueues"]
    loaded = loaded_by(f"from streamq.testing import {', '.join(names)}")
    assert not any(name.partition(".")[0] == "lupa" for name in loaded)


def test_without_lupa_it_says_what_to_install() -> None:
    program = "import sys; sys.modules['lupa'] = None; from streamq.testing import MemoryQueues"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30)
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: streamq.testing.MemoryQueues needs the extra testing: pip install 'streamq[testing]'"
    )


def parts() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in testing.__all__:
        value = getattr(testing, name)
        found[name] = value
        if inspect.isclass(value):
            methods = {key: part for key, part in vars(value).items() if not key.startswith("_")}
            found |= {
                f"{name}.{key}": part
                for key, part in methods.items()
                if inspect.isfunction(part) or isinstance(part, property)
            }
    return found


def test_everything_public_is_documented() -> None:
    assert [name for name, part in parts().items() if len((part.__doc__ or "").strip()) < 20] == []
