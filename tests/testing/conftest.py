"""The kit's own fixtures, whether or not the installed streamq registers its plugin here."""

from streamq.testing.plugin import memory_queue, streamq_clock, streamq_server, streamq_url

__all__ = ["memory_queue", "streamq_clock", "streamq_server", "streamq_url"]
