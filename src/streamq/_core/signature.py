"""A handler's signature as a codec: arguments to bytes at enqueue, bytes to arguments before the run.

On the wire a payload is a msgpack map of arguments by name, so that a JSON object from any client maps onto a handler.
Types are whatever msgspec knows, and pydantic models; both ends check them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec
import msgspec.inspect

from ..errors import ConfigError, InvalidPayload
from .context import Context

_KINDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def enc_hook(value: Any) -> Any:
    """Encode pydantic models (anything with ``model_dump``); msgspec knows the rest or refuses."""
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json")
    raise NotImplementedError(f"{type(value).__qualname__} is not a type that msgspec or pydantic can encode")


def dec_hook(kind: Any, value: Any) -> Any:
    """Decode pydantic models (anything with ``model_validate``)."""
    validate = getattr(kind, "model_validate", None)
    if validate is not None:
        return validate(value)
    raise NotImplementedError(f"{kind!r} is not a type that msgspec or pydantic can decode")


_encoder = msgspec.msgpack.Encoder(enc_hook=enc_hook)
encode_value = _encoder.encode


REFUSED = (msgspec.MsgspecError, ValueError, TypeError, NotImplementedError, RecursionError, OverflowError)
"""What encoding or decoding values that do not fit may raise."""


class Signature:
    """Arguments of one handler.

    ``wants_context``: whether a leading `Context` is passed in. ``dependencies``: parameter name -> marker, left out of
    the payload. ``returns``: the declared return type, for decoding results. ``hints``: all annotations by name.
    """

    def __init__(self, name: str, function: Callable[..., Any], is_dependency: Callable[[Any], bool]) -> None:
        self.name = name
        self.function = function
        self.hints: dict[str, Any] = _hints(name, function)
        hints = self.hints
        parameters = list(inspect.signature(function).parameters.values())
        self.wants_context: bool = bool(parameters) and _is_context(hints.get(parameters[0].name))
        self.returns: Any = hints.get("return", Any)
        self.dependencies: dict[str, Any] = {}
        fields: list[tuple[str, Any, Any]] = []
        for position, parameter in enumerate(parameters):
            if position == 0 and self.wants_context:
                _refuse_unreachable(name, parameter)
                continue
            hint = hints.get(parameter.name, Any)
            _refuse_odd(name, parameter, hint)
            if is_dependency(parameter.default):
                self.dependencies[parameter.name] = parameter.default
            else:
                fields.append((parameter.name, hint, parameter.default))
        self._names = tuple(field[0] for field in fields)
        self._known = frozenset(self._names)
        self._positional = all(p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for p in parameters)
        self._decoder = _decoder(name, fields)
        self._in_order = self._positional and not self.dependencies

    @property
    def names(self) -> tuple[str, ...]:
        """Payload arguments in order."""
        return self._names

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return arguments by name; raises `InvalidPayload` for too many, unknown, doubled or injected ones."""
        if not args:
            bound = kwargs
        else:
            if len(args) > len(self._names):
                raise InvalidPayload(self.name, f"takes {len(self._names)} arguments, {len(args)} given")
            bound = dict(zip(self._names, args))  # noqa: B905 - fewer are given than there are; saying so costs time
            if not kwargs:
                return bound
            doubled = bound.keys() & kwargs.keys()
            if doubled:
                raise InvalidPayload(self.name, f"{min(doubled)!r} is given twice")
            bound.update(kwargs)
        if not bound.keys() <= self._known:
            extra = min(bound.keys() - self._known)
            if extra in self.dependencies:
                raise InvalidPayload(self.name, f"{extra!r} is injected by the worker and cannot be enqueued")
            raise InvalidPayload(self.name, f"unknown argument {extra!r}; it takes {', '.join(self._names) or 'none'}")
        return bound

    def encode(self, arguments: Mapping[str, Any]) -> bytes:
        """Return ``arguments`` as msgpack, after checking that the handler could decode them."""
        try:
            data = _encoder.encode(arguments)
            self._decoder.decode(data)
        except REFUSED as problem:
            raise InvalidPayload(self.name, _readable(problem)) from None
        return data

    def decode(self, data: bytes | msgspec.Raw) -> Any:
        """Return the decoded arguments as one struct; raises `InvalidPayload` with the reason."""
        try:
            return self._decoder.decode(data)
        except REFUSED as problem:
            raise InvalidPayload(self.name, _readable(problem)) from None

    def call_with(self, struct: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return positional and keyword arguments for the handler from a decoded ``struct``."""
        if self._in_order:
            return msgspec.structs.astuple(struct), _NOTHING
        return (), msgspec.structs.asdict(struct)


_NOTHING: dict[str, Any] = {}


def _decoder(name: str, fields: list[tuple[str, Any, Any]]) -> msgspec.msgpack.Decoder[Any]:
    required: list[Any] = []
    for field, hint, default in fields:
        if default is inspect.Parameter.empty:
            required.append((field, hint))
        else:
            required.append((field, hint, msgspec.field(default_factory=_constant(default))))
    try:
        struct = msgspec.defstruct("Arguments", required, kw_only=True)
        decoder = msgspec.msgpack.Decoder(struct, dec_hook=dec_hook)
    except TypeError as problem:
        raise ConfigError("handler", name, f"msgspec cannot decode its arguments: {problem}") from None
    foreign = _foreign(msgspec.inspect.type_info(struct), set())
    if foreign is not None:
        raise ConfigError(
            "handler",
            name,
            f"{foreign!r} cannot travel; use types that msgspec or pydantic know, or inject it: Depends(...)",
        )
    return decoder


def _foreign(found: Any, seen: set[int]) -> Any:
    """Return the first type in msgspec's description that neither msgspec nor `dec_hook` can decode."""
    if isinstance(found, msgspec.inspect.CustomType):
        return None if hasattr(found.cls, "model_validate") else found.cls
    parts: tuple[Any, ...] = ()
    if isinstance(found, tuple):
        parts = found  # pyright: ignore[reportUnknownVariableType]
    elif isinstance(found, msgspec.inspect.Type | msgspec.inspect.Field) and id(found) not in seen:
        seen.add(id(found))
        parts = msgspec.structs.astuple(found)
    return next((one for one in (_foreign(part, seen) for part in parts) if one is not None), None)


def _constant(value: Any) -> Callable[[], Any]:
    return lambda: value


def _hints(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    if not inspect.isroutine(function):
        raise ConfigError("handler", name, f"{function!r} is no function; wrap it in one")
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as problem:
        raise ConfigError(
            "handler", name, f"annotation cannot be resolved at run time ({problem}); import it outside TYPE_CHECKING"
        ) from None


def _is_context(hint: Any) -> bool:
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    return isinstance(hint, type) and issubclass(hint, Context)


def _refuse_unreachable(name: str, parameter: inspect.Parameter) -> None:
    if parameter.kind not in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
        raise ConfigError("handler", name, f"Context is passed by position; {parameter} cannot take it")


def _refuse_odd(name: str, parameter: inspect.Parameter, hint: Any) -> None:
    if _is_context(hint):
        raise ConfigError("handler", name, f"Context must be its first parameter, not {parameter.name!r}")
    if parameter.kind not in _KINDS:
        raise ConfigError(
            "handler", name, f"parameter {parameter} cannot travel by name; use ordinary or keyword-only parameters"
        )


def _readable(problem: BaseException) -> str:
    if isinstance(problem, RecursionError):
        return "nested too deeply"
    text = str(problem)
    return text if len(text) <= 500 else text[:500] + "..."
