"""Serves a dashboard as ``streamq dashboard`` does, and asks it for a page, a static file, REST and health.

For an environment that has nothing but the wheel with its extras: ``nox -s package`` runs it there.
"""

from __future__ import annotations

import asyncio
import re
import sys
import urllib.error
import urllib.request

from streamq import Queue

ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
WANTED = {
    "/": "shop",
    "/queues/shop": "delayed",
    "/api/queues": '"name":"shop"',
    "/api/openapi.json": '"openapi"',
    "/health": "",
    "/metrics": 'streamq_queue_jobs{queue="shop"',
}
"""Path -> what must be in the answer."""

PATIENCE = 30.0


async def address(server: asyncio.subprocess.Process) -> str:
    """Return where it listens, by its own word."""
    said = b""
    async with asyncio.timeout(PATIENCE):
        while line := await server.stderr.readline() if server.stderr else b"":
            said += line
            found = ADDRESS.search(line.decode())
            if found:
                return found[0]
    raise SystemExit(f"it does not say where it listens: {said.decode()}")


def answer(url: str) -> str:
    """Return the body of a page; anything but success ends this, with what was answered."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as page:  # noqa: S310 - our own server
            return str(page.read().decode())
    except urllib.error.HTTPError as refused:
        raise SystemExit(f"{url}: {refused}: {refused.read().decode()[:2000]}") from None


async def main() -> None:
    """Ask for each of them."""
    queue = Queue("shop")
    await queue.enqueue("send", {"to": "ada"}, delay=3600)
    command = [sys.executable, "-m", "streamq", "dashboard", "--port", "0"]
    server = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    try:
        base = await address(server)
        for path, wanted in WANTED.items():
            body = await asyncio.to_thread(answer, base + path)
            if wanted not in body:
                raise SystemExit(f"{path} does not say {wanted!r}: {body[:500]}")
        styles = re.search(r'href="([^"]+\.css[^"]*)"', await asyncio.to_thread(answer, f"{base}/"))
        if styles is None:
            raise SystemExit("/ is a page without styles")
        await asyncio.to_thread(answer, base + styles[1])
    finally:
        server.terminate()
        await server.wait()
        await queue.aclose()
    print(f"asked for {len(WANTED) + 1} answers")


asyncio.run(main())
