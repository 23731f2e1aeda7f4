"""``chaos``: faults drawn from a seed, and a judge of what every stream was given."""
