"""Bridges: processes that publish what comes from a broker, each record once.

What is in a record is `mapping`, what becomes of it `pipeline`; one module for each broker. Their
libraries are extras, imported by those modules alone.
"""
