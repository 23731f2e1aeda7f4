/** The transport over the browser's EventSource, which hides status, headers and `retry:`. */

import type { Failure, Transport } from "./types.js";

const NAMES = ["message", "ping", "sse.open", "sse.reset", "sse.closed"];

/** Milliseconds of a `Retry-After` header in seconds. */
export const retryAfter = (response: Response) =>
  Number(response.headers.get("Retry-After")) * 1000 || 0;

export const eventSourceTransport: Transport = (request, on) => {
  const url = new URL(request.url);
  const { lastEventId, token, withCredentials } = request;
  if (lastEventId) url.searchParams.set("lastEventId", lastEventId);
  if (token) url.searchParams.set("access_token", token);
  const abort = new AbortController();
  const source = new EventSource(url, { withCredentials });
  let isOpen = false;
  let id = "";
  let event = "";

  const receive = ({ type, data, lastEventId }: MessageEvent<string>) => {
    // An event without an id has the id of the one before. The same event twice is a duplicate.
    const hasId = lastEventId !== id || type + data === event;
    if (hasId) [id, event] = [lastEventId, type + data];
    on.message(type, data, hasId ? id : "");
  };
  for (const name of new Set([...NAMES, ...request.eventNames])) source.addEventListener(name, receive);

  source.onopen = () => {
    isOpen = true;
  };
  source.onerror = async () => {
    // A browser honours `retry:` and sends Last-Event-ID, so a stream that was open is left to it.
    if (!source.readyState && isOpen) {
      isOpen = false;
      on.lost();
      return;
    }
    // The browser gave up, or would repeat a failing request without backoff. Ask for the status.
    const gaveUp = source.readyState === 2;
    source.close();
    on.end(gaveUp ? await statusOf(url, withCredentials, abort) : {});
  };
  return () => {
    source.close();
    abort.abort();
  };
};

async function statusOf(url: URL, withCredentials: boolean, abort: AbortController): Promise<Failure> {
  try {
    const response = await fetch(url, {
      headers: { Accept: "text/event-stream" },
      credentials: withCredentials ? "include" : "same-origin",
      cache: "no-store",
      signal: abort.signal,
    });
    return { status: response.status, retryAfter: retryAfter(response) };
  } catch {
    return {};
  } finally {
    abort.abort();
  }
}
