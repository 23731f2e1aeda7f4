"""Log output: its format and its rate.

The event log, a Redis stream, is in redis/.
"""
