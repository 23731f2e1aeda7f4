/** What applications and transports exchange with the client. */

import type { Closed as ClosedByNode, NodeEvents, Reset } from "./api.js";

export type * from "./api.js";

/** The data of events by their type. Extend it with your own:
 *
 * ```ts
 * declare module "@sse-node/client" {
 *   interface EventTypes { "order.paid": { order: number } }
 * }
 * ```
 */
export interface EventTypes extends NodeEvents {}

/** An event type with data of a known type, or any other string. */
export type EventType = keyof EventTypes | (string & {});

/** The object that the node sends: the members of the published data, and `eventType`. */
export type EventData<T extends string> = T extends keyof EventTypes
  ? EventTypes[T] & { eventType: T }
  : any;

export interface SseEvent<T extends string = string> {
  /** Empty for an event that is not in the node's log: it is delivered at most once. */
  id: string;
  eventType: T;
  data: EventData<T>;
}

/** - `connecting`: a request is under way, and no event of it has arrived
 *  - `open`: events arrive
 *  - `waiting`: the stream was lost; the next attempt is scheduled
 *  - `closed`: for good, by `close()`, an AbortSignal or the server */
export type ConnectionState = "connecting" | "open" | "waiting" | "closed";

export interface Closed {
  /** The reason of `sse.closed` (`token-expired`, `revoked`, `replaced`), `unauthorized` for a
   *  status 401 or 403, or `no-content` for a status 204. */
  reason: ClosedByNode["reason"] | "unauthorized" | "no-content";
  /** The status of the response that ended it. */
  status?: number;
}

/** Where the last event id survives a reload: `localStorage`, `sessionStorage` or your own. */
export type IdStorage = Pick<Storage, "getItem" | "setItem">;

export type Token = string | true | undefined;

export interface ConnectOptions {
  /** Called once for each event, in the order of their ids. */
  onEvent?: (eventType: string, data: any, event: SseEvent) => void;
  /** Events are missing: load the state again. Called before any newer event. */
  onReset?: (reset: Reset) => void;
  /** The server ended the access. The client does not reconnect. */
  onClosed?: (closed: Closed) => void;
  /** Called when the state changes. `failure.status`: a response that made it wait, such as 404. */
  onState?: (state: ConnectionState, failure: Failure) => void;
  /** Return a token, or true for one in a cookie; called before every request. `refused` is true
   *  when the server rejected the one before: return a new one, true for a new cookie, or undefined
   *  to stop. */
  getToken?: (refused: boolean) => Token | Promise<Token>;
  /** An id to resume from, or a storage that keeps the last id. Default: start with new events. */
  lastEventId?: string | IdStorage;
  /** Use one connection for all tabs. Default: whether `user` is given. */
  shared?: boolean;
  /** Whose stream it is. Tabs of different users share neither connection nor stored id. */
  user?: string;
  /** Send cookies to another origin. */
  withCredentials?: boolean;
  /** Event names to listen to, for a node with `--event-names`. Needed with EventSource only. */
  eventNames?: readonly string[];
  /** The node's `--ping-interval` in ms until two pings have shown it; 0 to ignore silence. Default: 15,000. */
  pingInterval?: number;
  /** The reconnection time in ms until the server sends one. Default: 3,000. */
  retry?: number;
  /** The longest backoff in ms. Default: 30,000. */
  maxRetry?: number;
  /** Aborting it closes the connection. */
  signal?: AbortSignal;
  /** How to read a stream. Default: the browser's EventSource. */
  transport?: Transport;
}

/** Options of `connect` of `@sse-node/client/fetch`, beside those of `connect`. */
export interface FetchOptions {
  /** Headers of each request, or a function that returns them. */
  headers?: HeadersInit | (() => HeadersInit | Promise<HeadersInit>);
  /** Used instead of the global `fetch`. */
  fetch?: typeof globalThis.fetch;
}

export interface Connection {
  readonly state: ConnectionState;
  /** The id of the last event that was delivered, or the position at which the stream began. */
  readonly lastEventId: string;
  /** End the connection for good; no callback is called afterwards. */
  close(): void;
}

export interface TransportRequest {
  url: string;
  /** Empty: start with new events. */
  lastEventId: string;
  token: string | undefined;
  withCredentials: boolean;
  eventNames: readonly string[];
}

/** Why a stream ended; without a status when no response said so. */
export interface Failure {
  status?: number;
  /** The least time to wait in ms, from `Retry-After`. */
  retryAfter?: number;
}

export interface TransportEvents {
  /** `id` is empty for an event without one. */
  message(type: string, data: string, id: string): void;
  /** The server sent a reconnection time. */
  retry(ms: number): void;
  /** The stream ended, and the transport opens it again by itself. */
  lost(): void;
  /** The stream ended. */
  end(failure: Failure): void;
}

/** Open one stream; return a function that closes it. Every call of `on` is made later. */
export type Transport = (request: TransportRequest, on: TransportEvents) => () => void;
