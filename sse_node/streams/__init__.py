"""The per-client path: opening, keeping and closing event streams.

No route and no Redis connection belongs here.
"""
