/** Streams over `fetch`: for headers, such as `Authorization: Bearer`, and for Node.js. */

import { createParser } from "eventsource-parser";

import { connect as connectWith } from "./connect.js";
import { retryAfter } from "./event-source.js";
import type { Connection, ConnectOptions, FetchOptions, Transport } from "./types.js";

export type * from "./types.js";

/** As `connect` of `@sse-node/client`; the token is sent as `Authorization: Bearer`. */
export function connect(url: string, options: ConnectOptions & FetchOptions = {}): Connection {
  return connectWith(url, { ...options, transport: fetchTransport(options) });
}

export function fetchTransport(options: FetchOptions = {}): Transport {
  return (request, on) => {
    const abort = new AbortController();

    const read = async () => {
      const { headers, fetch = globalThis.fetch } = options;
      const fields = new Headers(typeof headers === "function" ? await headers() : headers);
      fields.set("Accept", "text/event-stream");
      if (request.lastEventId) fields.set("Last-Event-ID", request.lastEventId);
      if (request.token) fields.set("Authorization", `Bearer ${request.token}`);
      const response = await fetch(request.url, {
        headers: fields,
        credentials: request.withCredentials ? "include" : "same-origin",
        cache: "no-store",
        signal: abort.signal,
      });
      const type = response.headers.get("Content-Type") ?? "";
      if (response.status !== 200 || !/^text\/event-stream\b/i.test(type)) {
        abort.abort();
        return on.end({ status: response.status, retryAfter: retryAfter(response) });
      }
      const parser = createParser({
        onEvent: ({ event = "message", data, id = "" }) => on.message(event, data, id),
        onRetry: on.retry,
      });
      const decoder = new TextDecoder();
      const reader = response.body!.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return on.end({});
        parser.feed(decoder.decode(value, { stream: true }));
      }
    };

    read().catch(() => on.end({}));
    return () => abort.abort();
  };
}
