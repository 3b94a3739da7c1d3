"""What ``streamq worker`` makes of log records: plain lines, JSON lines, or colours on a terminal."""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Any

from .. import LogContext
from .say import CliError, duration

_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
"""What every record has; the rest came in through ``extra=``."""


def extras(record: logging.LogRecord) -> dict[str, Any]:
    """Return what was passed as ``extra=``, without what is unknown."""
    return {key: value for key, value in vars(record).items() if key not in _STANDARD and value is not None}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, then every key of ``extra=``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        data: dict[str, Any] = {
            **extras(record),
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            data["exception"] = self.formatException(record.exc_info)
        return json.dumps(data, default=str)


class PlainFormatter(logging.Formatter):
    """Time, level, message, then ``key=value``: readable as it is, and easy to grep."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and a traceback below it where there is one."""
        more = extras(record)
        more.pop("event", None)
        if not record.name.startswith("streamq"):
            more = {"logger": record.name, **more}
        pairs = "".join(f" {key}={_plain(key, value)}" for key, value in more.items())
        text = f"{_clock(record)} {record.levelname:<7} {record.getMessage()}{pairs}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class RichHandler(logging.Handler):
    """A line a record, coloured: the sign, the handler and the job first, then what matters of the rest."""

    SIGNS = {  # noqa: RUF012 - never changed
        "succeeded": ("✓", "green"),
        "retrying": ("↻", "yellow"),
        "failed": ("✕", "red"),
        "dead": ("✕", "bold red"),
        "started": ("▸", "blue"),
        "cancelled": ("⊘", "dim"),
        "parked": ("▣", "cyan"),
    }
    QUIET = ("event", "queue", "handler", "job_id", "worker", "is_last_attempt", "max_attempts")

    def __init__(self) -> None:
        super().__init__()
        self._console: Any = importlib.import_module("rich.console").Console(stderr=True, highlight=False)
        self._text: Any = importlib.import_module("rich.text").Text

    def emit(self, record: logging.LogRecord) -> None:
        """Print the line."""
        try:
            self._console.print(self._line(record), soft_wrap=True)
            if record.exc_info:
                self._console.print(logging.Formatter().formatException(record.exc_info), style="dim", markup=False)
        except Exception:  # noqa: BLE001 - logging's own way: a failing log line never fails the program
            self.handleError(record)

    def _line(self, record: logging.LogRecord) -> Any:
        more = extras(record)
        sign, style = self.SIGNS.get(
            str(more.get("event")), ("", "yellow" if record.levelno >= logging.WARNING else "")
        )
        line = self._text(_clock(record).partition(" ")[2] + " ", style="dim")
        if "job_id" in more and sign:
            line.append(f" {sign} ", style=style).append(str(more.get("handler")), style="bold")
            line.append(f"  {more['job_id']}", style="dim")
        else:
            line.append(f" {record.getMessage()}", style=style)
        left = [(key, value) for key, value in more.items() if key not in self.QUIET]
        for key, value in left:
            if key != "attempt" or value != 1:
                line.append(f"  {key} ", style="dim").append(_plain(key, value))
        return line


def configure(style: str | None, level: str, *, untouched: bool) -> str:
    """Set logging up, before the app is imported so that the app has the last word; returns the style in use.

    ``style`` None: rich on a terminal where it is installed, else plain. ``untouched``: leave logging alone.
    """
    has_rich = importlib.util.find_spec("rich") is not None
    if style is None:
        style = "rich" if has_rich and sys.stderr.isatty() else "plain"
    if style == "rich" and not has_rich:
        raise CliError(
            "--log-format rich needs the package rich", 'pip install "streamq[cli]"', "or --log-format plain"
        )
    if untouched:
        return style
    handler: logging.Handler = RichHandler() if style == "rich" else logging.StreamHandler()
    if style != "rich":
        handler.setFormatter(JsonFormatter() if style == "json" else PlainFormatter())
    handler.addFilter(LogContext())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    return style


def _plain(key: str, value: Any) -> str:
    if key in ("duration", "backoff") and isinstance(value, int | float):
        return duration(value).replace(" ", "")
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if not text or any(char in text for char in ' "=\n') else text


def _clock(record: logging.LogRecord) -> str:
    stamp = time.localtime(record.created)
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', stamp)}.{int(record.msecs):03}"
