"""HTTP/1.1: connections, listeners and routing.

What a route does is in api/; event streams are in streams/.
"""
