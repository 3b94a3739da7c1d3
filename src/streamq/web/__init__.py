"""The web room: REST, dashboard and audit as one ASGI app. Needs the extra ``dashboard``.

from streamq.web import Dashboard, basic, bearer

app = Dashboard(queue, access=basic({"omar": "..."}))      # an ASGI app: run it, or mount it
"""

from __future__ import annotations

from .access import Access, AccessRule, Level, any_of, basic, bearer
from .app import Dashboard
from .redaction import SENSITIVE

__all__ = ["SENSITIVE", "Access", "AccessRule", "Dashboard", "Level", "any_of", "basic", "bearer"]
