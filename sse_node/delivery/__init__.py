"""The per-event path, in memory: decode, remember, find the streams.

Sockets and Redis are not touched here.
"""
