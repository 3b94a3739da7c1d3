"""Parse every Lua file with the grammar of Redis, Lua 5.1."""

import sys
from pathlib import Path

from lupa.lua51 import LuaRuntime, LuaSyntaxError

LUA = Path(__file__).parents[1] / "src" / "streamq"


def main() -> int:
    """Report each file that does not parse; the exit status is their number."""
    lua = LuaRuntime()
    files = sorted(LUA.rglob("*.lua"))
    wrong = 0
    for path in files:
        try:
            lua.compile(path.read_text())
        except LuaSyntaxError as error:
            wrong += 1
            print(f"{path.relative_to(Path.cwd())}: {error}")
    print(f"{len(files)} Lua files, {wrong} with errors")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
