"""A Server-Sent Events fan-out node: Redis Pub/Sub in, very many event streams out."""

__version__ = "0.1.0"
