"""State in memory on one event loop: synchronous, no I/O."""
