"""Metrics as Prometheus reads them, by its own parsers."""

from __future__ import annotations

from typing import Any

from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics

_PLAIN: Any = parser
_OPENMETRICS: Any = openmetrics


def families(text: str, *, as_openmetrics: bool = False) -> list[Any]:
    """The metrics in a text; what the parser would not take is an error."""
    found = _OPENMETRICS if as_openmetrics else _PLAIN
    return list(found.text_string_to_metric_families(text))


def samples(text: str, *, as_openmetrics: bool = False) -> dict[tuple[str, ...], float]:
    """Every sample: name and values of its labels -> value."""
    found = families(text, as_openmetrics=as_openmetrics)
    return {(one.name, *one.labels.values()): one.value for family in found for one in family.samples}
