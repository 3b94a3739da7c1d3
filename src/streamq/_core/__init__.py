"""DECIDES. What a job is and what becomes of it: no I/O, no event loop, no wall clock."""
