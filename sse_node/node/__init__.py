"""A node and its processes: composition root, worker, supervisor, signals.

No request is handled here.
"""
