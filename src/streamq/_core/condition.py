"""Conditions on a job's arguments, as data: ``Arg("country") == "GR"``.

They stand in Redis and every worker evaluates them, hence no function: a lambda could neither be stored nor shown.
On the wire a condition is an array, the same in msgpack and JSON: ``["==", ["country"], "GR"]``,
``["and", [...], [...]]``, ``["not", [...]]``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn, cast

import msgspec

from ..errors import ConfigError
from .comparison import MOST_TEXT, holds, is_64_bits, is_encodable, path_text, problem_of, text

Value = str | int | float | bool | None
"""What a field can be compared with."""

MOST_TERMS: Final = 100
MOST_VALUES: Final = 1000
MOST_DEPTH: Final = 20
"""Bounds of a condition: comparisons, values of one ``in_``, nesting."""

_EQUAL: Final = ("==", "!=")
_ORDER: Final = ("<", "<=", ">", ">=")
_JOINS: Final = ("and", "or")
_PARENTHESES: Final = "put each comparison in parentheses: (Arg(...) == 1) & (Arg(...) == 2)"


class Condition(msgspec.Struct, frozen=True):
    """A comparison of one argument, or conditions joined by ``&``, ``|`` and ``~``; made by comparing an `Arg`.

    An argument that is missing, or of another type than the value, fulfils no comparison; so ``!=`` holds only for an
    argument that is there. ``~`` turns the whole answer round.
    """

    operator: str
    path: tuple[str | int, ...] = ()
    value: Any = None
    parts: tuple[Condition, ...] = ()

    def __and__(self, other: Condition) -> Condition:
        """Both."""
        return _joined("and", self, other)

    def __or__(self, other: Condition) -> Condition:
        """Either, or both."""
        return _joined("or", self, other)

    def __invert__(self) -> Condition:
        """The opposite."""
        return _bounded(Condition("not", parts=(self,)))

    def __bool__(self) -> NoReturn:
        raise TypeError(
            f"whether {self} holds is decided by the worker; join conditions by & | ~ with each comparison in "
            "parentheses, not by and, or, not, in, or a chain such as 1 < x < 5"
        )

    def __str__(self) -> str:
        """For people: country == 'GR' and amount > 10."""
        operator, parts = self.operator, self.parts
        shown = [f"({one})" if one.operator in _JOINS else str(one) for one in parts]
        if operator == "not":
            return f"not {shown[0]}"
        return f" {operator} ".join(shown) if parts else text(self.path, operator, self.value)

    def __repr__(self) -> str:
        """The text for people."""
        return f"<Condition {self}>"

    def matches(self, arguments: Mapping[str, Any]) -> bool:
        """Whether it holds for these arguments by name, decoded or plain. Never raises."""
        operator, parts = self.operator, self.parts
        if operator == "not":
            return not parts[0].matches(arguments)
        if operator == "and":
            return all(one.matches(arguments) for one in parts)
        if operator == "or":
            return any(one.matches(arguments) for one in parts)
        return holds(arguments, self.path, operator, self.value)


class Arg:  # noqa: PLW1641 - with __eq__ and without __hash__ Python makes it unhashable, which is meant
    """An argument of a job, to make a condition of by comparing it: ``(Arg("country") == "GR") & (Arg("n") > 10)``.

    ``Arg("address.country")`` is a field of a nested object, ``Arg("items")[0]`` (or ``Arg("items", 0)``) an element of
    a list, ``Arg("headers")["x.y"]`` a field with a dot in its name. Compared by ``==``, ``!=``, ``<``, ``<=``, ``>``,
    ``>=``, `in_` and `startswith` with text, numbers, True, False and None.
    """

    __slots__ = ("_path",)

    def __init__(self, name: str, *path: str | int) -> None:
        self._path: tuple[str | int, ...] = (*_parsed(name), *map(_part, path))

    def __getitem__(self, part: str | int) -> Arg:
        """A field or element of it."""
        return Arg(str(self._path[0]), *self._path[1:], part)

    def __eq__(self, value: object) -> Condition:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride] - it makes a condition
        return self._compared("==", value)

    def __ne__(self, value: object) -> Condition:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride] - it makes a condition
        return self._compared("!=", value)

    def __lt__(self, value: str | float) -> Condition:
        return self._compared("<", value)

    def __le__(self, value: str | float) -> Condition:
        return self._compared("<=", value)

    def __gt__(self, value: str | float) -> Condition:
        return self._compared(">", value)

    def __ge__(self, value: str | float) -> Condition:
        return self._compared(">=", value)

    def in_(self, *values: Value | Iterable[Value]) -> Condition:
        """Whether it is one of these: ``Arg("country").in_("GR", "CY")``; a single iterable is taken apart."""
        only = values[0] if len(values) == 1 else None
        if isinstance(only, Iterable) and not isinstance(only, str):
            values = tuple(only)
        return _checked(Condition("in", self._path, values))

    def startswith(self, prefix: str) -> Condition:
        """Whether it is text that begins so."""
        return _checked(Condition("startswith", self._path, prefix))

    def _compared(self, operator: str, value: object) -> Condition:
        return _checked(Condition(operator, self._path, value))

    def __repr__(self) -> str:
        """Name and path."""
        return f"<Arg {path_text(self._path)}>"

    # It is no value: what asks it for one has meant a condition.
    __iter__ = None
    __contains__ = None

    def __bool__(self) -> NoReturn:
        raise TypeError(f"{self!r} has no value here; compare it: Arg(...) == value")

    def __and__(self, other: object) -> NoReturn:
        raise TypeError(_PARENTHESES)

    def __rand__(self, other: object) -> NoReturn:
        raise TypeError(_PARENTHESES)

    def __or__(self, other: object) -> NoReturn:
        raise TypeError(_PARENTHESES)

    def __ror__(self, other: object) -> NoReturn:
        raise TypeError(_PARENTHESES)

    def __invert__(self) -> NoReturn:
        raise TypeError("put the comparison in parentheses: ~(Arg(...) == 1)")


def checked(option: str, value: object) -> Condition:
    """Return ``value`` if it is a condition; a function is refused, since it cannot be stored in Redis."""
    if isinstance(value, Condition):
        return value
    what = "a comparison of it" if isinstance(value, Arg) else 'a condition such as Arg("country") == "GR"'
    raise ConfigError(option, value, f"is stored in Redis and evaluated by every worker: give {what}")


def encode(condition: Condition) -> bytes:
    """Return the condition as msgpack."""
    return msgspec.msgpack.encode(to_wire(condition))


def decode(data: bytes) -> Condition:
    """Return the condition of these bytes; raises `ConfigError` if they are none that this version knows."""
    try:
        return from_wire(msgspec.msgpack.decode(data))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as problem:
        raise ConfigError("where", data, f"is no condition: {problem}") from None


def to_wire(condition: Condition) -> list[Any]:
    """Return the condition as plain data, the same for msgpack and JSON."""
    if condition.parts:
        return [condition.operator, *(to_wire(one) for one in condition.parts)]
    value = list(condition.value) if condition.operator == "in" else condition.value
    return [condition.operator, list(condition.path), value]


def from_wire(data: object) -> Condition:
    """Return the condition of plain data; raises `ConfigError` if it is none that this version knows."""
    return _bounded(_read(data, 0))


def _read(data: object, depth: int) -> Condition:
    found = _sequence(data)
    if depth > MOST_DEPTH or len(found) < 2:
        raise _malformed(found)
    operator, *rest = found
    if (operator in _JOINS and len(rest) >= 2) or (operator == "not" and len(rest) == 1):
        return Condition(operator, parts=tuple(_read(one, depth + 1) for one in rest))
    path = tuple(_part(one) for one in _sequence(rest[0]))
    if len(rest) != 2 or not isinstance(operator, str) or not path:
        raise _malformed(found)
    return _checked(Condition(operator, path, tuple(_sequence(rest[1])) if operator == "in" else rest[1]))


def _sequence(data: object) -> Sequence[Any]:
    return cast("Sequence[Any]", data) if isinstance(data, list | tuple) else ()


def _malformed(data: object) -> ConfigError:
    return ConfigError("where", data, "is no condition; make one by comparing an Arg")


# -- what may be in one ------------------------------------------------------------------------------------------------


def _checked(condition: Condition) -> Condition:
    operator, value = condition.operator, condition.value
    if operator in _EQUAL:
        _check_value(condition, value)
    elif operator in _ORDER:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise _refusal(condition, "compare with text or a number", value)
        _check_value(condition, value)
    elif operator == "startswith":
        if not isinstance(value, str):
            raise _refusal(condition, "give text", value)
        _check_value(condition, value)
    elif operator == "in":
        values = _sequence(value)
        if not 0 < len(values) <= MOST_VALUES:
            raise _refusal(condition, f"give 1 to {MOST_VALUES} values", f"<{len(values)} values>")
        for one in values:
            _check_value(condition, one)
    else:
        raise ConfigError("where", operator, "is no comparison that this version knows; upgrade, or write it otherwise")
    return condition


def _check_value(condition: Condition, value: object) -> None:
    remedy = problem_of(value)
    if remedy:
        raise _refusal(condition, remedy, value)


def _refusal(condition: Condition, remedy: str, shown: object) -> ConfigError:
    named = f"where: {path_text(condition.path)} {condition.operator}"
    if isinstance(shown, Arg):
        remedy = "a field is compared with a value, not with another field"
    elif callable(shown):
        remedy = f"{remedy}; a function cannot be stored in Redis"
    return ConfigError(named, shown, remedy)


def _parsed(name: object) -> tuple[str | int, ...]:
    if not isinstance(name, str) or not all(name.split(".")):
        raise ConfigError("Arg(name)", name, 'give the name of an argument, such as "country" or "address.country"')
    return tuple(_part(one) for one in name.split("."))


def _part(part: object) -> str | int:
    if type(part) is int and is_64_bits(part):
        return part
    if type(part) is str and 0 < len(part) <= MOST_TEXT and is_encodable(part):
        return part
    raise ConfigError("Arg(name)", part, "a field is named by text, an element of a list by its number")


def _joined(operator: str, left: object, right: object) -> Condition:
    parts: list[Condition] = []
    for one in (left, right):
        if not isinstance(one, Condition):
            raise TypeError(f"{operator} joins conditions, and {one!r} is none; put each comparison in parentheses")
        parts += one.parts if one.operator == operator else (one,)
    return _bounded(Condition(operator, parts=tuple(parts)))


def _bounded(condition: Condition) -> Condition:
    terms, depth = _size(condition)
    if terms > MOST_TERMS or depth > MOST_DEPTH:
        raise ConfigError(
            "where", f"<{terms} comparisons>", f"at most {MOST_TERMS}, nested {MOST_DEPTH} deep; use in_, or split it"
        )
    return condition


def _size(condition: Condition) -> tuple[int, int]:
    sizes = [_size(one) for one in condition.parts]
    return (sum(one[0] for one in sizes), 1 + max(one[1] for one in sizes)) if sizes else (1, 0)
