"""Who may do what, and how much: tokens, keys, trusted proxies, rights, limits.

What the routes do is the business of `api`; the value that names a caller is `wire.identity`.
"""
