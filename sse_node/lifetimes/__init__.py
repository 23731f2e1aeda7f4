"""Timers and tasks with a start and a shutdown.

What they do is their owners' business; nothing here knows the node.
"""
