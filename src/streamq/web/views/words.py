"""Numbers, ages, ids and hostile text as people read them. One way to write each, on every page."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

NONE = "–"  # noqa: RUF001 - a dash is meant
"""Stands for what is not known; zero is 0."""

DAY = 86_400.0

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": DAY, "w": 7 * DAY}
_PART = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)(ms|s|m|h|d|w)", re.ASCII)

_UNITS = (("d", 86_400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1))

_UNSEEN = {
    code: f"U+{code:04X}"
    for code in (
        *range(0x20),
        *range(0x7F, 0xA0),
        0x00AD,
        0x061C,
        0x180E,
        *range(0x200B, 0x2010),
        0x2028,
        0x2029,
        *range(0x202A, 0x202F),
        *range(0x2060, 0x2070),
        0xFEFF,
        *range(0xFFF9, 0xFFFC),
        *range(0xE0000, 0xE0080),
    )
    if chr(code) not in "\t\n\r"
}
"""Characters that change how others are read, or that cannot be seen at all, shown by their number."""


def visible(text: str) -> str:
    """Return ``text`` with its bidirectional controls and invisible characters shown as U+202E and the like."""
    return text if text.isascii() and text.isprintable() else text.translate(_UNSEEN)


def number(value: float | None) -> str:
    """Return 12,480; one decimal below ten for what is no whole number; a dash for what is not known."""
    if value is None or not math.isfinite(value):
        return NONE
    if value != int(value):
        return f"{value:,.1f}" if abs(value) < 10 else f"{value:,.0f}"
    return f"{int(value):,}"


def short(value: float) -> str:
    """Return 64k, 1.2M: for the phone's bar, where a number has no room."""
    for size, unit in ((1_000_000, "M"), (10_000, "k")):
        if value >= size:
            part = value / (1_000_000 if unit == "M" else 1000)
            return f"{part:.1f}{unit}" if part < 10 else f"{part:.0f}{unit}"
    return number(value)


def count(value: int, noun: str, plural: str = "") -> str:
    """Return "1 job", "1,240 jobs"."""
    return f"{value:,} {noun if value == 1 else plural or noun + 's'}"


def duration(seconds: float | None) -> str:
    """Return a duration in two units at most: 0.4 ms, 812 ms, 41 s, 1 m 30 s, 3 d 18 h."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if seconds < 1:
        ms = seconds * 1000
        return f"{ms:.1f} ms" if 0 < ms < 9.95 else f"{ms:.0f} ms"
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    whole = round(seconds)
    for unit, size, small, part in _UNITS:
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // part:02d} {small}"
    return f"{whole} s"


def ago(when: datetime | None, now: datetime) -> str:
    """Return how long ago something was, or how long it is off; beyond two days the date."""
    if when is None:
        return NONE
    seconds = (now - when).total_seconds()
    if abs(seconds) > 2 * DAY:
        return date(when)
    if seconds < 0:
        return f"in {duration(-seconds)}"
    return "now" if seconds < 0.5 else f"{duration(seconds)} ago"


def until(when: datetime | None, now: datetime) -> str:
    """Return how long something is off: "in 4 s", "in 3 d 18 h"; "due" when its time has come."""
    if when is None:
        return NONE
    seconds = (when - now).total_seconds()
    return f"in {duration(seconds)}" if seconds > 0 else "due"


def date(when: datetime) -> str:
    """Return "19 November 2026, 14:09"."""
    return f"{when.day} {when:%B %Y, %H:%M}"


def clock(when: datetime) -> str:
    """Return 14:09:31."""
    return f"{when:%H:%M:%S}"


def instant(when: datetime | None) -> str:
    """Return an instant in full, with its zone: what a hover shows."""
    return "" if when is None else f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def iso(when: datetime | None) -> str:
    """Return an instant for machines."""
    return "" if when is None else when.astimezone(UTC).isoformat(timespec="milliseconds")


def percent(part: float, whole: float) -> str:
    """Return "97 %"; one decimal below one."""
    if not whole:
        return NONE
    value = 100 * part / whole
    return f"{value:.1f} %" if 0 < value < 1 else f"{value:.0f} %"


def size(number_of_bytes: float) -> str:
    """Return "412 bytes", "1.2 kB", "2 GB"."""
    if number_of_bytes < 1000:
        return count(int(number_of_bytes), "byte")
    value = float(number_of_bytes)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.5 or unit == "GB":
            return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
    return NONE


def worker(name: str) -> str:
    """Return a worker's name as people know it: host or name and process, without what makes it unique."""
    return re.sub(r":[0-9a-f]{16}$", "", name)


def tail(job_id: str) -> str:
    """Return the end of an id: the front of one is time, and alike for all of an hour."""
    return job_id if len(job_id) <= 12 else f"…{job_id[-8:]}"


def listed(words: list[str]) -> str:
    """Return "a, b and c"."""
    if not words:
        return ""
    *rest, last = words
    return f"{', '.join(rest)} and {last}" if rest else last


def cut(text: str, most: int) -> str:
    """Return at most ``most`` characters of a text, on one line."""
    flat = " ".join(text[: most * 4].split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"


def seconds_in(text: str) -> float | None:
    """Return the seconds in "90s", "5m", "1h30m", "2d", "250ms" or a plain number; None if it is none of these."""
    cleaned = text.strip().lower().replace(" ", "")
    if re.fullmatch(r"\d{1,12}(\.\d{1,9})?", cleaned, re.ASCII):
        return float(cleaned)
    parts = _PART.findall(cleaned)
    if not parts or "".join(value + unit for value, unit in parts) != cleaned:
        return None
    return float(sum(float(value) * _SECONDS[unit] for value, unit in parts))


def since(text: str, now: datetime) -> datetime | None:
    """Return the instant that "6h" before now is, or an ISO instant that has a zone; None for anything else."""
    seconds = seconds_in(text)
    if seconds is not None:
        return now - timedelta(seconds=min(seconds, 10_000 * DAY))
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return when if when.tzinfo is not None else None
