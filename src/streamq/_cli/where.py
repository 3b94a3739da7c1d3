"""A condition typed at a shell: ``country == "GR" and amount > 10``. Read as Python writes it, never evaluated."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from .._core.condition import Arg, Condition
from ..errors import ConfigError
from .say import USAGE, CliError

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Condition]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_TURNED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.Eq,
    ast.NotEq: ast.NotEq,
    ast.Lt: ast.Gt,
    ast.LtE: ast.GtE,
    ast.Gt: ast.Lt,
    ast.GtE: ast.LtE,
}
_FIELDS = (ast.Name, ast.Attribute, ast.Subscript)
_CONSTANTS = {"true": "True", "false": "False", "null": "None", "none": "None"}


def parse(text: str) -> Condition:
    """Return the condition in ``text``: comparisons of arguments with values, joined by and, or, not and brackets.

    ``name.startswith("x")`` and ``x in ("a", "b")`` compare, too; ``address.city`` and ``items[0]`` are inner fields.

    Raises:
        CliError: It is none; says where, and how to write it.
    """
    try:
        return _Reader(text).read()
    except ConfigError as problem:
        raise CliError(f"--where {text!r}: {problem}", code=USAGE) from None


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text.strip()

    def read(self) -> Condition:
        try:
            tree = ast.parse(self._text, mode="eval").body
        except SyntaxError as problem:
            lone = "=" in self._text.replace("==", "").replace("!=", "").replace("<=", "").replace(">=", "")
            why = "one = is no comparison; write ==" if lone else f"cannot be read ({problem.msg})"
            raise self._refusal(why) from None
        except (ValueError, RecursionError, MemoryError):
            raise self._refusal("cannot be read") from None
        return self._condition(tree)

    def _condition(self, node: ast.expr) -> Condition:
        match node:
            case ast.BoolOp(op, values):
                first, *rest = [self._condition(one) for one in values]
                for one in rest:
                    first = first & one if isinstance(op, ast.And) else first | one
                return first
            case ast.UnaryOp(ast.Not(), operand):
                return ~self._condition(operand)
            case ast.Compare(left, ops, comparators):
                sides = [left, *comparators]
                found = [self._compared(sides[at], op, sides[at + 1]) for at, op in enumerate(ops)]
                whole = found[0]
                for one in found[1:]:
                    whole &= one
                return whole
            case ast.Call(ast.Attribute(field, "startswith"), [prefix], []):
                return self._field(field).startswith(self._value(prefix))
            case ast.Name() | ast.Attribute() | ast.Subscript():
                said = self._said(node)
                raise self._refusal(f"{said} alone is no comparison; write {said} == True")
            case _:
                raise self._refusal(f"{self._said(node)} is no comparison")

    def _compared(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Condition:
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(right, ast.Tuple | ast.List | ast.Set):
                raise self._refusal(f'{self._said(right)} is no list of values; write {self._said(left)} in ("a", "b")')
            found = self._field(left).in_([self._value(one) for one in right.elts])
            return ~found if isinstance(op, ast.NotIn) else found
        if isinstance(op, ast.Is | ast.IsNot):
            raise self._refusal("is compares objects; write == or !=")
        if isinstance(right, _FIELDS) and not isinstance(left, _FIELDS):
            left, op, right = right, _TURNED[type(op)](), left
        return _COMPARE[type(op)](self._field(left), self._value(right))

    def _field(self, node: ast.expr) -> Arg:
        match node:
            case ast.Name(name):
                return Arg(name)
            case ast.Attribute(inner, name):
                return self._field(inner)[name]
            case ast.Subscript(inner, part):
                at = self._value(part)
                if isinstance(at, bool) or not isinstance(at, str | int):
                    raise self._refusal(f"{self._said(part)} names no field; use a number or quoted text in brackets")
                return self._field(inner)[at]
            case _:
                raise self._refusal(
                    f"{self._said(node)} is no argument; write an argument's name, then what to compare with"
                )

    def _value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(None | bool() | str() | int() | float() as value):
                return value
            case ast.UnaryOp(ast.USub(), ast.Constant(int() | float() as value)):
                return -value
            case ast.Name(name) if name in _CONSTANTS:
                raise self._refusal(f"{name} is a name here; write {_CONSTANTS[name]}")
            case ast.Name() | ast.Attribute() | ast.Subscript():
                said = self._said(node)
                raise self._refusal(f'{said} is a name, and names are not compared; put text in quotes: "{said}"')
            case _:
                raise self._refusal(f"{self._said(node)} is no value; compare with text, a number, True, False or None")

    def _said(self, node: ast.expr) -> str:
        return ast.get_source_segment(self._text, node) or ast.unparse(node)

    def _refusal(self, why: str) -> CliError:
        return CliError(
            f"--where {self._text!r}: {why}",
            'write comparisons of arguments, such as: country == "GR" and amount > 10',
            'joined by and, or, not; also: channel in ("sms", "mail"), phone.startswith("+30"), address.city == "x"',
            code=USAGE,
        )
