/** One stream for all tabs: Web Locks elect the tab that reads it, BroadcastChannel shares it.
 *
 * Every message of the leader has the position of its stream, so that a follower notices a gap and
 * asks for what is missing. The followers notice a leader that is frozen and take its place.
 */

import { compareIds } from "./decode.js";
import { keepOpen, type Stream, type StreamEvents } from "./stream.js";
import type { Closed, ConnectionState, ConnectOptions, Failure } from "./types.js";

const TICK_MS = 350; // a frozen leader is replaced after 4 ticks at most: within 2 s, with room for a busy machine
const MISSED_TICKS = 3;

interface LeaderMessage {
  /** Rises with each leader: messages of an earlier one, which was frozen, are ignored. */
  term: number;
  position: string;
  state: ConnectionState;
  failure?: Failure;
  event?: [type: string, data: string, id: string];
  closed?: Closed;
}

/** A follower's request: for a sign of life, or to read again from a position. */
interface Question {
  from: string;
}

export interface SharedEvents extends StreamEvents {
  /** The leader's stream is at `position`. */
  position(position: string): void;
}

export interface SharedStream {
  /** Ask for everything after `position`, which this tab has missed. */
  resume(position: string): void;
  stop(): void;
}

export function shareStream(
  name: string,
  url: string,
  options: ConnectOptions,
  lastEventId: () => string,
  on: SharedEvents,
): SharedStream {
  const channel = new BroadcastChannel(name);
  let state: ConnectionState = "connecting";
  let failure: Failure | undefined; // that led to this state
  let term = 0;
  let misses = 0;
  let isHeard = false;
  let asked = "";
  let isStopped = false;
  let isSuspended = false;
  let isAlone = false;
  let isEnded = false; // for all tabs
  let stream: Stream | undefined; // while this tab leads
  let release: (() => void) | undefined;
  let waiting: AbortController;

  const post = (message: Omit<LeaderMessage, "term" | "state" | "failure"> | Question) =>
    isStopped || isAlone || channel.postMessage({ term, state, failure, ...message });

  const lead = () => {
    if (isStopped) return;
    stepDown();
    term = Math.max(term + 1, Date.now());
    const own = (stream = keepOpen(url, options, lastEventId(), {
      message(before, type, data, id) {
        post({ position: before, event: [type, data, id] });
        on.message(before, type, data, id);
      },
      state(next, why) {
        if (next === state) return;
        [state, failure] = [next, why];
        tell();
        on.state(next, why);
      },
      closed(closed) {
        const isReplaced = closed.reason === "replaced";
        const end = () => {
          if (stream !== own) return;
          // Another tab may get a valid token. Anything else is the same for all tabs.
          if (!options.getToken || isReplaced || closed.status === 204) {
            post({ position: "", closed });
            isEnded = true;
          }
          on.closed(closed);
        };
        // The stream that replaced it may be another tab's, which took over from this one.
        if (isReplaced) setTimeout(end, TICK_MS);
        else end();
      },
    }));
    if (isStopped) return stepDown(); // by a callback for the state
    tell();
    return new Promise<void>((resolve) => (release = resolve));
  };

  const tell = () => stream && post({ position: stream.position() });

  const stepDown = () => {
    stream = void stream?.stop();
    release?.();
  };

  const elect = (steal: boolean) => {
    waiting?.abort();
    const { signal } = (waiting = new AbortController());
    navigator.locks.request(name, steal ? { steal } : { signal }, lead).catch(({ name }) => {
      if (isStopped || signal.aborted) return;
      if (name === "AbortError") follow(); // stolen by a tab that could not hear this one
      else {
        isAlone = true; // no locks here, as in a sandboxed frame
        channel.close();
        void lead();
      }
    });
  };

  const follow = () => {
    stepDown();
    elect(false);
  };

  channel.onmessage = ({ data }: MessageEvent<LeaderMessage & Question>) => {
    if (data.from !== undefined) {
      if (data.from && stream && compareIds(stream.position(), data.from) > 0) {
        stream.restart(data.from);
      } else tell();
      return;
    }
    if (data.term < term) return;
    if (stream) follow();
    ({ term, state, failure } = data);
    isHeard = true;
    on.state(state, failure);
    if (data.closed) on.closed(data.closed);
    else if (data.event) on.message(data.position, ...data.event);
    else on.position(data.position);
  };

  // A page that Chromium freezes reads no stream, but still answers messages: it must not lead.
  const suspend = () => {
    isSuspended = true;
    waiting.abort();
    stepDown();
  };
  const wake = () => {
    if (isSuspended) elect(false);
    isSuspended = false;
  };
  const listen = (verb: "addEventListener" | "removeEventListener") => {
    globalThis.document?.[verb]("freeze", suspend);
    globalThis.document?.[verb]("resume", wake);
    globalThis[verb]?.("pagehide", suspend);
    globalThis[verb]?.("pageshow", wake);
  };

  const ticker = setInterval(() => {
    if (isSuspended) return;
    asked = "";
    if (isHeard || stream) misses = 0;
    else if (++misses > MISSED_TICKS) {
      misses = 0;
      elect(true);
    } else post({ from: "" });
    isHeard = false;
  }, TICK_MS);

  listen("addEventListener");
  post({ from: "" });
  elect(false);

  return {
    resume(position) {
      if (stream) stream.restart(position);
      else if (asked !== position) post({ from: (asked = position) });
    },
    stop() {
      isStopped = true;
      listen("removeEventListener");
      clearInterval(ticker);
      waiting.abort();
      stream?.stop();
      channel.close();
      // The next tab must have heard of the end before it has the lock.
      if (isEnded) setTimeout(stepDown, TICK_MS);
      else stepDown();
    },
  };
}
