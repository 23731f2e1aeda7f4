"""Settings: their sections, their values from flags and environment.

Nothing here acts on a setting.
"""
