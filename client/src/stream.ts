/** One stream that is kept open: backoff, tokens, silence. It delivers what the transport reads. */

import { eventSourceTransport } from "./event-source.js";
import { parse } from "./decode.js";
import type { Closed, ConnectionState, ConnectOptions, Failure } from "./types.js";

export interface StreamEvents {
  /** `before` is the position of the stream before this event. */
  message(before: string, type: string, data: string, id: string): void;
  state(state: ConnectionState, failure?: Failure): void;
  closed(closed: Closed): void;
}

export interface Stream {
  /** The id up to which the stream has been read. */
  position(): string;
  /** Read again from `position`. */
  restart(position: string): void;
  stop(): void;
}

const SILENT_INTERVALS = 2.5; // the contract: a node pings every stream once an interval
const LONGEST_WAIT_MS = 3_600_000; // arbitrary; setTimeout fires at once above 24 days

/** Open a stream at `position` and keep it open until it is stopped or the server ends it. */
export function keepOpen(
  url: string,
  options: ConnectOptions,
  position: string,
  on: StreamEvents,
): Stream {
  const { getToken, transport = eventSourceTransport, maxRetry = 30_000 } = options;
  let { pingInterval = 15_000, retry = 3_000 } = options;
  let attempt = 0; // a late callback of an earlier one is ignored
  let failures = 0;
  let isRetryKnown = false; // whether the current response has sent `retry:`
  let isRefused = false;
  let isRenewed = false; // a token in a cookie, for the current request
  let refusedAt = -Infinity;
  let isOpen = false; // an event of the current response has arrived
  let isWaiting = false; // for the next attempt, ours or the browser's
  let token: string | undefined;
  let lastPing = 0;
  let close: (() => void) | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let silenceTimer: ReturnType<typeof setTimeout> | undefined;
  let heardAt = [0, 0];

  // A suspended computer stops one of these clocks, a corrected time moves the other.
  const clocks = () => [performance.now(), Date.now()];
  const silence = () => Math.max(...clocks().map((now, index) => now - heardAt[index]!));

  const end = () => {
    attempt++;
    close?.();
    close = timer = void clearTimeout(timer);
  };

  const finish = (closed: Closed) => {
    stop();
    on.closed(closed);
  };

  const start = async () => {
    end();
    const mine = attempt;
    const isCurrent = () => mine === attempt;
    isOpen = isWaiting = isRetryKnown = false;
    lastPing = 0;
    heardAt = clocks();
    on.state("connecting");
    let next;
    try {
      next = await getToken?.(isRefused);
    } catch {
      if (isCurrent()) retryLater({});
      return;
    }
    if (!isCurrent()) return;
    // A cookie that has just been renewed is as good as it gets.
    if (isRefused && (!next || next === token || (next === true && isRenewed))) return finish(refusal);
    isRenewed = isRefused && next === true;
    isRefused = false; // what fails now may be the network
    token = next === true ? undefined : next; // a cookie has it
    close = transport(
      {
        url,
        lastEventId: position,
        token,
        withCredentials: !!options.withCredentials,
        eventNames: options.eventNames ?? [],
      },
      {
        message: (type, data, id) => isCurrent() && receive(type, data, id),
        retry(ms) {
          retry = ms;
          isRetryKnown = true;
        },
        lost() {
          if (!isCurrent()) return;
          isOpen = false;
          isWaiting = true;
          lastPing = 0;
          heardAt = clocks();
          on.state("waiting");
        },
        end: (failure) => isCurrent() && retryLater(failure),
      },
    );
  };

  const receive = (type: string, data: string, id: string) => {
    heardAt = clocks();
    if (type === "sse.closed") return refuse(parse(data));
    failures = 0;
    isOpen = true;
    isWaiting = isRenewed = false;
    if (type === "ping") {
      const timestamp = parse(data)?.timestamp ?? 0;
      if (lastPing && timestamp > lastPing && pingInterval) pingInterval = timestamp - lastPing;
      lastPing = timestamp;
    }
    on.state("open");
    const before = position;
    if (id) position = id;
    on.message(before, type, data, id);
  };

  let refusal: Closed;
  const refuse = (closed: Closed) => {
    refusal = closed;
    if (!getToken || closed.reason === "replaced") return finish(closed);
    isRefused = true;
    // A new token is tried at once, but not one after the other.
    const since = performance.now() - refusedAt;
    refusedAt = performance.now();
    if (since > (isOpen ? retry : maxRetry)) start();
    else schedule({ status: closed.status }, failures++);
  };

  const retryLater = (failure: Failure) => {
    const { status } = failure;
    if (status === 204) finish({ reason: "no-content", status });
    else if (status === 401 || status === 403) refuse({ reason: "unauthorized", status });
    else schedule(failure, failures++);
  };

  /** Full jitter: somewhere between what the server asked for and the backoff. */
  const schedule = (failure: Failure, tries: number) => {
    end();
    const least = Math.min(
      Math.max(failure.retryAfter ?? 0, isRetryKnown ? retry : 0),
      LONGEST_WAIT_MS,
    );
    const most = Math.max(least, Math.min(maxRetry, retry * 2 ** tries));
    isWaiting = true;
    timer = setTimeout(start, least + Math.random() * (most - least));
    on.state("waiting", failure);
  };

  const checkSilence = () => {
    if (!pingInterval || silence() <= SILENT_INTERVALS * pingInterval) return;
    if (isOpen) start();
    else if (!timer) retryLater({});
  };
  const watch = () => {
    silenceTimer = setTimeout(watch, (pingInterval || 15_000) / 4);
    checkSilence();
  };

  /** Find out what happened while the page could not run. */
  const check = () => (isWaiting ? start() : checkSilence());
  const onVisible = () => document.visibilityState === "visible" && check();
  const listen = (verb: "addEventListener" | "removeEventListener") => {
    globalThis[verb]?.("online", start);
    globalThis[verb]?.("pageshow", check);
    globalThis.document?.[verb]("resume", check);
    globalThis.document?.[verb]("visibilitychange", onVisible);
  };

  const stop = () => {
    end();
    clearTimeout(silenceTimer);
    listen("removeEventListener");
  };

  listen("addEventListener");
  start();
  watch();

  return {
    position: () => position,
    restart(from) {
      position = from;
      start();
    },
    stop,
  };
}
