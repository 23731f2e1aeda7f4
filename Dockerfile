# One image for nodes (serve), webhooks and bridges: it has every extra. A node imports none of them.

FROM python:3.13-slim AS build

WORKDIR /src

# Before the code, so that a change of the code does not install the packages again.
COPY constraints.txt constraints-all.txt ./
RUN pip install --no-cache-dir --no-deps --require-hashes --requirement constraints.txt \
    && python -m venv --without-pip /opt/sse-node \
    && pip --python /opt/sse-node/bin/python install --no-cache-dir --no-deps --require-hashes \
        --requirement constraints-all.txt

COPY LICENSE README.md nginx.conf pyproject.toml ./
COPY sse_node sse_node
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /dist . \
    && pip --python /opt/sse-node/bin/python install --no-cache-dir --no-deps --no-index /dist/*.whl

FROM python:3.13-slim

# Process 1 is an init: it reaps the processes that are left to it, and passes signals on.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/*

# Nothing here is the node's to write; its private Valkey, without REDIS_URL, lives in /tmp. The number is the
# chart's runAsUser.
RUN useradd --system --uid 10001 --no-create-home --home-dir /nonexistent sse-node
COPY --from=build /opt/sse-node /opt/sse-node
USER 10001

ENV PATH=/opt/sse-node/bin:$PATH PORT=3000
EXPOSE 3000
# Drains: streams end one by one, and come back to another node.
STOPSIGNAL SIGTERM

# Exec forms: the node gets the signal itself, and its exit code is the container's.
ENTRYPOINT ["tini", "--", "sse-node"]
# Without SSE_NODE_AUTH (jwt, proxy, or none on a private network) a node does not listen on this address.
CMD ["serve", "--host", "0.0.0.0"]

# Liveness only: while Redis is away the node keeps its streams and must not be restarted. The command finds the
# address in the flags and the environment of the running node.
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 \
    CMD ["sse-node", "health"]
