"""``python -m streamq._embedded keeper <state directory> <socket> <server pid>``: run by whoever starts a server."""

from __future__ import annotations

import sys
from pathlib import Path

from .keeper import keep


def main(arguments: list[str]) -> int:
    """Run the keeper to its end; gives back the exit code."""
    match arguments:
        case ["keeper", state, socket, pid] if pid.isdecimal():
            keep(Path(state), Path(socket), int(pid))
            return 0
        case _:
            sys.stderr.write("usage: python -m streamq._embedded keeper <state directory> <socket> <server pid>\n")
            return 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
