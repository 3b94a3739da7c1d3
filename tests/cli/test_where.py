"""Conditions as they are typed at a shell: what they mean, and what is said of those that mean nothing."""

from __future__ import annotations

from typing import Any

import pytest

from streamq._cli.say import USAGE, CliError
from streamq._cli.where import parse

ARGUMENTS: dict[str, Any] = {
    "country": "GR",
    "amount": 20,
    "vip": True,
    "note": None,
    "address": {"city": "Athens", "x.y": 1},
    "items": [{"n": 3}, {"n": 4}],
}


@pytest.mark.parametrize(
    "text",
    [
        'country == "GR"',
        "country == 'GR' and amount > 10",
        'country == "CY" or (amount >= 20 and not vip == False)',
        '"GR" == country',
        "10 < amount <= 20",
        "20 >= amount",
        "vip == True and note == None",
        'address.city == "Athens"',
        'address["x.y"] == 1',
        "items[0].n == 3 and items[-1].n != 3",
        "amount > -5 and amount < 20.5",
        'country in ("GR", "CY")',
        'country not in ["CY", "MT"]',
        'country.startswith("G")',
        'not country.startswith("C")',
        '  country == "GR"  ',
    ],
)
def test_what_fits(text: str) -> None:
    assert parse(text).matches(ARGUMENTS)


@pytest.mark.parametrize(
    "text",
    [
        'country == "CY"',
        "20 < amount",
        "vip == 1",
        'country != "GR"',
        'nobody == "GR"',
        'country in ("CY",)',
        'country.startswith("g")',
        'amount > 10 and country == "CY"',
    ],
)
def test_what_does_not_fit(text: str) -> None:
    assert not parse(text).matches(ARGUMENTS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('country = "GR"', "write =="),
        ("country == GR", 'put text in quotes: "GR"'),
        ("vip == true", "write True"),
        ("note == null", "write None"),
        ("vip", "write vip == True"),
        ("not vip", "write vip == True"),
        ("note is None", "write == or !="),
        ("country in (x)", "no list of values"),
        ("country in other", 'write country in ("a", "b")'),
        ("country in (x,)", 'put text in quotes: "x"'),
        ("len(items) == 2", "len(items) is no argument"),
        ('country.lower() == "gr"', "country.lower() is no argument"),
        ("1 == 1", "1 is no argument"),
        ("amount == 2 ** 80", "2 ** 80 is no value"),
        ("amount == [1]", "[1] is no value"),
        ("amount == b'x'", "b'x' is no value"),
        ("items[vip] == 1", "put text in quotes"),
        ("items[1.5] == 1", "names no field"),
        ("items[0:1] == 1", "no value"),
        ("(country == 'GR') & (amount > 1)", "is no comparison"),
        ("lambda: 1", "is no comparison"),
        ("__import__('os').system('true')", "is no comparison"),
        ("country ==", "cannot be read"),
        ("country == 'GR'; amount", "cannot be read"),
        ("", "cannot be read"),
        ("a == '\0'", "cannot be read"),
        ("(" * 1000 + "a" + ")" * 1000, "cannot be read"),
        (f"amount == {2**80}", "64 bits"),
        ("amount < True", "compare with text or a number"),
        (" or ".join(["amount == 1"] * 101), "at most 100"),
    ],
)
def test_what_means_nothing_is_refused_with_a_remedy(text: str, said: str) -> None:
    with pytest.raises(CliError) as refused:
        parse(text)
    assert said in str(refused.value)
    assert str(refused.value).startswith("--where ")
    assert refused.value.exit_code == USAGE
