FROM python:3.13-slim

WORKDIR /app

# Before the code, so that a change of the code does not install the packages again.
COPY constraints.txt ./
RUN pip install --no-cache-dir --no-deps --require-hashes --requirement constraints.txt

COPY LICENSE README.md pyproject.toml ./
COPY sse_node sse_node
RUN pip install --no-cache-dir --no-deps --no-build-isolation .

# What bridges and webhooks need: --build-arg EXTRAS=kafka, or kafka,amqp,webhooks.
ARG EXTRAS=""
RUN if [ -n "$EXTRAS" ]; then pip install --no-cache-dir --no-build-isolation ".[$EXTRAS]"; fi

# Nothing here is the node's to write; its private Valkey, without REDIS_URL, lives in /tmp.
RUN useradd --system --no-create-home --home-dir /nonexistent sse-node
USER sse-node

ENV PORT=3000
EXPOSE 3000
STOPSIGNAL SIGTERM

# Exec forms: the node is process 1 and gets the signal itself.
ENTRYPOINT ["sse-node"]
# Who may read and publish has to be said: SSE_NODE_AUTH=jwt, proxy, or none on a private network.
CMD ["serve", "--host", "0.0.0.0"]

# Liveness only: while Redis is away the node keeps its streams and must not be restarted. The command finds the
# address in the flags and the environment of the running node.
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 \
    CMD ["sse-node", "health"]
