"""The documents about the API, made from the route table and the types that decode requests.

Not here: how requests are answered (api/).
"""
