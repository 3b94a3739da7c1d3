"""The urls of the Django site that a test mounts a dashboard beside."""

from typing import Any

from django.http import JsonResponse  # type: ignore[import-untyped,unused-ignore]  # Django has no types
from django.urls import path  # type: ignore[import-untyped,unused-ignore]  # the same


async def own(request: Any) -> Any:
    return JsonResponse({"own": True})


urlpatterns: list[Any] = [path("own", own)]
