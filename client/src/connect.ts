/** What an application opens: each event once and in order, whoever reads the stream. */

import { compareIds, parse } from "./decode.js";
import { keepOpen } from "./stream.js";
import { shareStream, type SharedEvents } from "./tabs.js";
import type { Connection, ConnectionState, ConnectOptions, Failure } from "./types.js";

/** Open the event stream at `url` and keep it open. */
export function connect(url: string, options: ConnectOptions = {}): Connection {
  const { user, shared = user !== undefined, lastEventId, signal } = options;
  if (!options.transport && !globalThis.EventSource) {
    throw new Error("EventSource is not available; use connect of @sse-node/client/fetch");
  }
  if (globalThis.location) url = new URL(url, location.href).href;
  const key = `sse-node ${user ?? ""} ${url}`;
  const storage = typeof lastEventId === "object" ? lastEventId : undefined;
  let last = (storage ? storage.getItem(key) : (lastEventId as string | undefined)) ?? "";
  let state: ConnectionState | undefined;

  const call = (callback: () => void) => {
    try {
      callback();
    } catch (error) {
      setTimeout(() => {
        throw error; // for window.onerror; the stream goes on
      });
    }
  };
  const setState = (next: ConnectionState, failure: Failure = {}) => {
    if (state === next || state === "closed") return;
    state = next;
    call(() => options.onState?.(next, failure));
  };
  const moveTo = (id: string) => {
    last = id;
    call(() => storage?.setItem(key, id));
  };
  /** Return whether events between `last` and `position` are missing; if so, ask for them. */
  const hasGap = (position: string) => {
    const isMissing = compareIds(position, last) > 0;
    if (isMissing) stream.resume(last);
    return isMissing;
  };

  const on: SharedEvents = {
    state: setState,
    position(position) {
      if (!last && position) moveTo(position);
      hasGap(position);
    },
    message(before, type, text, id) {
      if (state === "closed" || hasGap(before) || type === "ping") return;
      if (type === "sse.open") {
        // A stream that resumed and had nothing to replay is where the node is: others have had events.
        if (id && (!last || (before && compareIds(id, last) > 0))) moveTo(id);
        return;
      }
      const data = parse(text);
      if (type === "sse.reset") {
        // Another tab asked for more than the log has; this one has seen it.
        if (data?.reason === "trimmed" && compareIds(before, last) < 0) return;
        call(() => options.onReset?.(data));
      } else {
        if (id && (id === last || compareIds(id, last) <= 0)) return;
        const eventType = data?.eventType ?? type;
        call(() => options.onEvent?.(eventType, data, { id, eventType, data }));
      }
      if (id) moveTo(id);
    },
    closed(closed) {
      close();
      call(() => options.onClosed?.(closed));
    },
  };

  const close = () => {
    signal?.removeEventListener("abort", close);
    stream.stop();
    setState("closed");
  };

  setState("connecting");
  const canShare = shared && globalThis.navigator?.locks && globalThis.BroadcastChannel;
  const stream = canShare
    ? shareStream(key, url, options, () => last, on)
    : { resume() {}, ...keepOpen(url, options, last, on) };
  signal?.addEventListener("abort", close);
  if (signal?.aborted) close();

  return {
    get state() {
      return state!;
    },
    get lastEventId() {
      return last;
    },
    close,
  };
}
