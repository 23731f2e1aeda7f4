"""Everything that talks to Redis: commands, scripts, the subscription, the event log.

Nothing here knows HTTP.
"""
