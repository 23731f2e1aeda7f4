"""Measurement tools: clients, publishers, samples, /proc. No workloads."""
