"""This folder decides nothing with a clock, a loop or a server: seconds in all, most of them the schedule's oracle."""

from hypothesis import settings

settings.register_profile("core", max_examples=50, deadline=None)
settings.load_profile("core")
