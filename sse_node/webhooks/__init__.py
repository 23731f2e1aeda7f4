"""Webhooks: events sent to URLs that users have registered.

`registry` keeps webhooks for the HTTP API; `dispatcher` reads the event log into their queues;
`deliverer` sends what waits there. `targets` says where connections may go. The HTTP client and
the signing library are an extra, loaded by the process of `sse-node webhooks` alone.
"""
