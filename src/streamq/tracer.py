"""The tracer somebody has set, through OpenTelemetry's API; nothing of it is imported or made while nobody has."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
from typing import Any, NamedTuple

from ._core import tracing as _names
from ._core.tracing import Mode, Value

_API = "opentelemetry.trace"
_ASK: Any = object()


class Api(NamedTuple):
    """The modules of OpenTelemetry that are needed once there is a provider."""

    trace: Any
    propagate: Any
    context: Any

    @property
    def is_suppressed(self) -> bool:
        """Whether somebody wants no spans here: ``suppress_instrumentation()``."""
        key = getattr(self.context, "_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation")
        return bool(self.context.get_value(key))


def _provider() -> Any:
    """Return the tracer provider that was set, None if none was. Loads nothing: who sets one has loaded the API."""
    api = sys.modules.get(_API)
    if api is None:
        return None
    found = getattr(api, "_TRACER_PROVIDER", _ASK)
    return api.get_tracer_provider() if found is _ASK else found  # an API that keeps it elsewhere


class Tracer:
    """The tracer of whatever provider is set; also of one that is set later, or by OTEL_PYTHON_TRACER_PROVIDER."""

    def __init__(self, queue: str, mode: Mode, url: str = "") -> None:
        self.mode: Mode = mode
        self.queue: str = queue
        self.url: str = url
        self._provider: Any = None
        self._tracer: Any = None
        self._known_api: Api | None = None
        if mode != "off" and "OTEL_PYTHON_TRACER_PROVIDER" in os.environ:
            importlib.import_module(_API).get_tracer_provider()

    @property
    def tracer(self) -> Any:
        """The tracer; None when nobody traces, and then this question is all that tracing costs."""
        provider = _provider()
        if provider is not self._provider:
            self._learn(provider)
        return self._tracer

    def _learn(self, provider: Any) -> None:
        self._provider, self._tracer = provider, None
        if provider is None or self.mode == "off":
            return
        trace = self.api.trace
        found = provider.get_tracer("streamq", importlib.metadata.version("streamq"), schema_url=_names.SCHEMA)
        if not isinstance(found, (trace.NoOpTracer, trace.ProxyTracer)):
            self._tracer = found

    @property
    def api(self) -> Api:
        """The modules of OpenTelemetry, loaded when they are first needed."""
        if self._known_api is None:
            modules = [importlib.import_module(f"opentelemetry.{name}") for name in Api._fields]
            self._known_api = Api(*modules)
        return self._known_api

    def attributes(self, name: str, kind: str) -> dict[str, Value]:
        """Return the attributes of every span: what is done, in which queue, on which server."""
        return {**_names.operation(name, kind, self.queue), **_names.place(self.url)}

    def failed(self, span: Any, error: BaseException | None) -> None:
        """Mark a span as failed, by an error whose class is named and whose text is not."""
        trace = self.api.trace
        if error is not None:
            span.set_attribute(_names.ERROR, type(error).__qualname__)
        span.set_status(trace.Status(trace.StatusCode.ERROR))
