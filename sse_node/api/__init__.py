"""The HTTP resources, one module each.

The protocols themselves are in http/ and redis/.
"""
