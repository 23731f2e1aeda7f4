"""`chaos`: faults drawn from a seed, and a checker of what every stream was given."""
