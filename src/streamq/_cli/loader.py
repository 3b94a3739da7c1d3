"""From "module:attribute" to queues and schedulers: what was typed, what was meant, and what stood in the way."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import tomllib
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard, cast

from .. import Queue, Worker
from ..errors import AppImportError

if TYPE_CHECKING:
    from ..scheduler import Scheduler


class Loaded(NamedTuple):
    """The queues of the targets, and the Worker among them, if one of them was a Worker.

    ``schedulers``: those that were named, and those of the named queues that stand beside them in their modules.
    """

    queues: tuple[Queue, ...]
    worker: Worker | None
    schedulers: tuple[Scheduler, ...] = ()


def targets(given: Sequence[str], app: str | None) -> list[str]:
    """Return what to load: the arguments, ``--app``, STREAMQ_APP, ``[tool.streamq] app`` of pyproject.toml."""
    if given:
        return list(given)
    single = app or os.environ.get("STREAMQ_APP")
    if single:
        return single.replace(",", " ").split()
    project = Path("pyproject.toml")
    try:
        found: Any = tomllib.loads(project.read_text(encoding="utf-8")).get("tool", {}).get("streamq", {}).get("app")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        found = None
    if isinstance(found, str):
        return found.split()
    return [str(one) for one in cast("list[object]", found)] if isinstance(found, list) else []


def load(wanted: Sequence[str], app_dir: str) -> Loaded:
    """Import the targets and return their queues.

    Raises:
        AppImportError: With the nearest thing that exists, where something is near.
    """
    folder = str(Path(app_dir).resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)  # a console script starts with the folder of its own script there
    queues: list[Queue] = []
    worker: Worker | None = None
    named: list[Scheduler] = []
    for target in wanted:
        found = _load(target, folder)
        if isinstance(found, Worker):
            if worker is not None:
                raise AppImportError(target, "is a second Worker", "give one Worker, or the queues")
            worker = found
        elif _is_scheduler(found):
            named.append(found)
        queues += [one for one in _queues(target, found) if one not in queues]
    if worker is None:
        beside = {id(value): value for one in wanted for value in vars(sys.modules[one.partition(":")[0]]).values()}
        named += [one for one in beside.values() if _is_scheduler(one) and one.queue in queues and one not in named]
    return Loaded(tuple(queues), worker, tuple(named))


def _is_scheduler(found: object) -> TypeGuard[Scheduler]:
    # An app without one has not loaded the module, and need not.
    module: Any = sys.modules.get("streamq.scheduler")
    return module is not None and isinstance(found, module.Scheduler)


def _load(target: str, folder: str) -> Any:
    name, _, path = target.partition(":")
    if not name or not path:
        raise AppImportError(target, "it names no attribute", f"write module:attribute, such as {name or 'app'}:queue")
    found: Any = _module(target, name, folder)
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise AppImportError(target, f"{name} has no {part!r}", _nearest(found, part, name)) from None
    return found


def _module(target: str, name: str, folder: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as problem:
        missing = problem.name or ""
        if name == missing or name.startswith(f"{missing}."):
            raise AppImportError(target, f"there is no module {missing!r}", _other_module(missing, folder)) from None
        where = _place(problem, folder)
        raise AppImportError(
            target, f"{name} imports {missing!r}, which is not installed{where}", f"pip install {missing.split('.')[0]}"
        ) from None
    except (Exception, SystemExit) as problem:  # noqa: BLE001 - whatever the app does while it is imported
        said = " ".join(str(problem).split()) or "no message"
        where = "" if isinstance(problem, SyntaxError) else _place(problem, folder)
        raise AppImportError(
            target,
            f"importing {name} raised {type(problem).__name__}: {said}{where}",
            f"try: python -c 'import {name}'",
        ) from None


def _place(problem: BaseException, folder: str) -> str:
    """Return where in the app's own code it happened."""
    frames = [frame for frame in traceback.extract_tb(problem.__traceback__) if frame.filename.startswith(folder)]
    if not frames:
        return ""
    return f" ({Path(frames[-1].filename).relative_to(folder)}, line {frames[-1].lineno})"


def _other_module(missing: str, folder: str) -> str:
    there = [one.stem for one in Path(folder).glob("*.py")]
    there += [one.parent.name for one in Path(folder).glob("*/__init__.py")]
    near = difflib.get_close_matches(missing, there, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"looked in {folder}; start from the folder that holds it, or name that with --app-dir"


def _nearest(holder: Any, part: str, name: str) -> str:
    near = difflib.get_close_matches(part, [one for one in dir(holder) if not one.startswith("_")], n=1)
    if near:
        return f"did you mean {name}:{near[0]}?"
    usable = (
        [one for one, value in vars(holder).items() if isinstance(value, Queue | Worker)]
        if isinstance(holder, ModuleType)
        else []
    )
    if usable:
        return "it has " + ", ".join(f"{name}:{one}" for one in usable)
    return 'it has no Queue at all; write queue = Queue("name") there'


def _queues(target: str, found: Any) -> Sequence[Queue]:
    if isinstance(found, Queue):
        return (found,)
    if isinstance(found, Worker):
        return found.queues
    if _is_scheduler(found):
        return (found.queue,)
    members = cast("Sequence[object]", found) if type(found) in (list, tuple) else ()
    if members:
        queues = [one for one in members if isinstance(one, Queue)]
        if queues and len(queues) == len(members):
            return queues
    kind = type(found).__name__
    raise AppImportError(target, f"is a {kind}", "name a Queue, a Worker, a Scheduler, or a list of Queues")
