"""The OpenAPI 3.1 document, made of the table of operations and the structs they take and give."""

from __future__ import annotations

import functools
import http
import importlib.metadata
import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from ..problems import Problem
from .table import ALWAYS, JSON, Operation

Groups = Sequence[tuple[str, Sequence[Operation]]]
"""Operations, with the prefix of their paths."""

PROBLEM = "application/problem+json"

_REFERENCE = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")


@functools.lru_cache(maxsize=8)
def document(groups: tuple[tuple[str, tuple[Operation, ...]], ...], *, title: str, root: str) -> bytes:
    """Return the document as JSON; ``root``: where the app is mounted."""
    rows = [(prefix, one) for prefix, operations in groups for one in operations]
    kinds = _kinds(one for _, one in rows)
    schemas, components = msgspec.json.schema_components([*kinds, Problem], ref_template=_REFERENCE)
    schema = dict(zip([*kinds, Problem], schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for prefix, one in rows:
        path = _PARAMETER.sub(r"{\1}", prefix + one.path)
        paths.setdefault(path, {})[one.method.lower()] = _operation(prefix, one, schema, components)
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": importlib.metadata.version("streamq"),
            "description": "Jobs, dead letters, schedules and queues. Errors are problem details (RFC 9457).",
        },
        "servers": [{"url": root or "/"}],
        "security": [{}, {"basic": []}, {"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }
    return msgspec.json.encode(found)


def _kinds(operations: Iterable[Operation]) -> list[Any]:
    found: list[Any] = []
    for one in operations:
        for kind in (one.query, one.body, one.answer):
            if kind not in (None, type(None), Response, Any) and kind not in found:
                found.append(kind)
    return found


def _operation(prefix: str, one: Operation, schema: dict[Any, Any], components: dict[str, Any]) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _PARAMETER.findall(one.path)
    ]
    if one.query is not None:
        parameters += _query(schema[one.query], components)
    said: dict[str, Any] = {
        "operationId": one.name if prefix == "/api" else f"controller_{one.name}",
        "tags": [one.tag],
        "summary": one.summary,
        "parameters": parameters,
        "responses": _responses(one, schema),
    }
    if one.description:
        said["description"] = one.description
    if one.body is not None:
        content = {JSON: {"schema": schema[one.body]}}
        said["requestBody"] = {"required": one.body_required, "content": content}
    return said


def _query(reference: dict[str, str], components: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the fields of a query struct as parameters."""
    kind = components[reference["$ref"].rpartition("/")[2]]
    needed = kind.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in needed, "schema": field}
        for name, field in kind.get("properties", {}).items()
    ]


def _responses(one: Operation, schema: dict[Any, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status in (one.status, *one.also):
        content: dict[str, Any] = {}
        if one.answer is Response:
            content = {one.media: {"schema": {"type": "string"}}}
        elif one.answer not in (None, type(None)):
            content = {one.media: {"schema": schema.get(one.answer, {})}}
        found[str(status)] = _response(status, content)
    problem = {PROBLEM: {"schema": schema[Problem]}}
    for status in sorted({*ALWAYS, *one.errors}):
        if str(status) in found:  # a verdict as well as a problem
            found[str(status)]["content"] |= problem
        else:
            found[str(status)] = _response(status, problem)
    return found


def _response(status: int, content: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {"description": http.HTTPStatus(status).phrase}
    return {**said, "content": content} if content else said
