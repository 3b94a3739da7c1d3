"""When a schedule is due: cron expressions, intervals and single instants, their bounds, and what to do about misses.

Pure: instants come in and go out. Every tick is an aware UTC `datetime` on a whole millisecond, a function of the
definition alone, so that any number of schedulers agree on it and its instant can be its identity.
"""

from .definition import ID_LIMIT, Definition, decode, encode, tick_id
from .kinds import MIN_EVERY, AtSchedule, CronSchedule, EverySchedule, Schedule
from .plans import Misfire, Plan, due, preview

__all__ = [
    "ID_LIMIT",
    "MIN_EVERY",
    "AtSchedule",
    "CronSchedule",
    "Definition",
    "EverySchedule",
    "Misfire",
    "Plan",
    "Schedule",
    "decode",
    "due",
    "encode",
    "preview",
    "tick_id",
]
