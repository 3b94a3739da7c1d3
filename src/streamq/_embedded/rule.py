"""When an embedded server may start at all: a production process must never get a private queue in silence."""

from __future__ import annotations

import sys
from collections.abc import Mapping

_NO = {"", "0", "false", "no", "off"}


def allowed(environ: Mapping[str, str], *, isatty: bool) -> tuple[bool, str]:
    """Whether an embedded server may start here, and the reason in one line (with the remedy, if not).

    Args:
        environ: The environment, usually ``os.environ``.
        isatty: Whether standard input is a terminal: a person is there to see what happens.
    """
    setting = environ.get("STREAMQ_ENV", "").strip().lower()
    if setting == "production":
        return False, "STREAMQ_ENV=production never starts an embedded server: set STREAMQ_URL=redis://host:6379/0"
    if sys.platform == "win32":
        return False, "the embedded server needs Linux or macOS: set STREAMQ_URL=redis://host:6379/0"
    if setting == "development":
        return True, "STREAMQ_ENV=development"
    if environ.get("CI", "").strip().lower() not in _NO or environ.get("PYTEST_CURRENT_TEST"):
        return True, "a test run (CI or PYTEST_CURRENT_TEST is set)"
    if isatty:
        return True, "standard input is a terminal"
    # A container whose image has the dev extra and whose URL was forgotten ends here.
    return False, (
        "no server configured, and this looks like a deployment (no terminal, no CI): "
        "set STREAMQ_URL=redis://host:6379/0, or STREAMQ_ENV=development for an embedded server"
    )
