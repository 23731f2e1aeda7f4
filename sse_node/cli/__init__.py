"""The commands that are not servers: publish and tail.

What they share with the server is in redis/ and wire/.
"""
