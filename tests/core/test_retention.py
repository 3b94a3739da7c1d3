"""How much of the past is kept: finite, and both bounds together."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from streamq import Keep
from streamq.errors import ConfigError


@pytest.mark.parametrize(
    ("keep", "count", "age_ms"),
    [
        (Keep(count=1000), 1000, 0),
        (Keep(count=0), 0, 0),
        (Keep(age=60), None, 60_000),
        (Keep(age=timedelta(days=30)), None, 30 * 86_400_000),
        (Keep(10, timedelta(hours=1)), 10, 3_600_000),
        (Keep(age=0), None, 1),  # 0 means no bound of age to the store
    ],
)
def test_bounds(keep: Keep, count: int | None, age_ms: int) -> None:
    assert keep.count == count
    assert keep.age_ms == age_ms


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, r"Keep=.*keeping everything fills the server"),
        ({"count": -1}, r"Keep\(count\)=-1"),
        ({"count": 10_000_001}, r"Keep\(count\)=10000001"),
        ({"count": True}, r"Keep\(count\)=True"),
        ({"count": "10"}, r"Keep\(count\)='10'"),
        ({"count": 1.5}, r"Keep\(count\)=1\.5"),
        ({"age": -1}, r"Keep\(age\)=-1"),
        ({"age": float("nan")}, r"Keep\(age\)=nan"),
        ({"age": "30d"}, r"Keep\(age\)='30d'"),
        ({"age": 30 * 86_400_000}, r"Keep\(age\)=2592000000"),
    ],
)
def test_bounds_that_cannot_be_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Keep(**options)
