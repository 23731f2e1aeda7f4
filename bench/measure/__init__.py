"""Measurement tools: interleaved rounds, traffic, /proc. No workload of its own."""
