"""A handler as people write it with an import that exists for the type checker only."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal


async def charge(amount: Decimal) -> None:
    """Cannot be registered: nothing can decode ``amount`` at run time."""
