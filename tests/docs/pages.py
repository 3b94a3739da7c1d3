"""The fenced blocks of a Markdown page, and what may stand above one."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
TESTED = ("README.md", "docs/tutorial/*.md", "docs/how-to/*.md")

_FENCE = re.compile(
    r"^(?:<!-- (?P<mark>[^\n]*?) -->\n)?```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
_FILE = re.compile(r"# ([\w./-]+\.py)\n")


class Block(NamedTuple):
    """A fenced block; ``line`` is that of its first line of code.

    ``mark``: the comment above the fence: "compile only: why", or "needs: package" of a block that runs only where
    that is installed. ``file``: a block that begins with ``# name.py`` is that file.
    """

    page: Path
    line: int
    language: str
    code: str
    mark: str
    file: str | None

    @property
    def where(self) -> str:
        """Page and line, as an editor takes them."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Every page whose blocks are tested."""
    return sorted(path for pattern in TESTED for path in ROOT.glob(pattern))


def blocks(page: Path, *languages: str) -> list[Block]:
    """The blocks of a page in these languages, in order."""
    text = page.read_text("utf-8")
    found: list[Block] = []
    for match in _FENCE.finditer(text):
        if match["language"] in languages:
            line = text.count("\n", 0, match.start("code")) + 1
            file = _FILE.match(match["code"])
            name = file[1] if file else None
            found.append(Block(page, line, match["language"], match["code"], match["mark"] or "", name))
    return found
