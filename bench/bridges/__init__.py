"""Bridges under load and under faults, with a real broker."""
