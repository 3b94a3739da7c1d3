"""``python -m streamq``: the command line without its script on PATH."""

from __future__ import annotations

from ._cli.main import main

if __name__ == "__main__":
    main()
