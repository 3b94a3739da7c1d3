"""REMEMBERS. How a queue is kept in Redis. The only importer of redis."""
