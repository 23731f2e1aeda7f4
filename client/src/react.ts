"use client";
/** Hooks for React. All components share one connection per URL; nothing runs on the server. */

import {
  createContext,
  createElement,
  useContext,
  useEffect,
  useMemo,
  useRef,
  useSyncExternalStore,
  type ReactNode,
} from "react";

import { connect as connectWithEventSource } from "./connect.js";
import type {
  Connection,
  ConnectionState,
  ConnectOptions,
  EventData,
  EventType,
  FetchOptions,
  SseEvent,
} from "./types.js";

export type * from "./types.js";

/** Where the replaced service had its stream: behind the rewrite of `/api`. */
const DEFAULT_URL = "/api/events/sse";
const LINGER_MS = 300; // arbitrary: longer than a remount, such as StrictMode's or a change of the route

export interface EventsProviderProps {
  /** The event stream; `/api/events/sse` if omitted. A new URL or user opens a new connection. */
  url?: string;
  /** Options of `connect`. Callbacks may change with every render. */
  options?: ConnectOptions & FetchOptions;
  /** `connect` of `@sse-node/client/fetch`, to use that. */
  connect?: (url: string, options: ConnectOptions & FetchOptions) => Connection;
  children?: ReactNode;
}

type Listener = (eventType: string, data: any, event: SseEvent) => void;

/** A connection that is open while components use it. */
class Source {
  state: ConnectionState = "connecting";
  options: ConnectOptions = {};
  connect: NonNullable<EventsProviderProps["connect"]> = connectWithEventSource;
  private readonly listeners = new Set<Listener>();
  private readonly stateListeners = new Set<() => void>();
  private connection: Connection | undefined;
  private users = 0;
  private linger: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly url: string) {}

  listen(listener: Listener) {
    this.listeners.add(listener);
    const release = this.retain();
    return () => {
      this.listeners.delete(listener);
      release();
    };
  }

  listenState = (listener: () => void) => {
    this.stateListeners.add(listener);
    const release = this.retain();
    return () => {
      this.stateListeners.delete(listener);
      release();
    };
  };

  getState = () => this.state;

  private retain() {
    this.users++;
    clearTimeout(this.linger);
    this.connection ??= this.open();
    return () => {
      if (!--this.users) this.linger = setTimeout(() => this.close(), LINGER_MS);
    };
  }

  private open() {
    return this.connect(this.url, {
      ...this.options,
      getToken: this.options.getToken && ((refused) => this.options.getToken?.(refused)),
      onEvent: (eventType, data, event) => {
        this.emit(eventType, data, event);
        this.options.onEvent?.(eventType, data, event);
      },
      onReset: (data) => {
        this.emit("sse.reset", data, { id: "", eventType: "sse.reset", data });
        this.options.onReset?.(data);
      },
      onClosed: (data) => {
        this.emit("sse.closed", data, { id: "", eventType: "sse.closed", data });
        this.options.onClosed?.(data);
      },
      onState: (state, failure) => {
        this.setState(state);
        this.options.onState?.(state, failure);
      },
    });
  }

  private close() {
    this.connection?.close();
    this.connection = undefined;
    this.state = "connecting";
  }

  private setState(state: ConnectionState) {
    this.state = state;
    for (const listener of this.stateListeners) listener();
  }

  private emit(eventType: string, data: any, event: SseEvent) {
    // A listener that throws does not keep the event from the others.
    for (const listener of [...this.listeners]) {
      try {
        listener(eventType, data, event);
      } catch (error) {
        setTimeout(() => {
          throw error;
        });
      }
    }
  }
}

const defaultSource = new Source(DEFAULT_URL);
const SourceContext = createContext(defaultSource);

/** Give the components below it another stream than `/api/events/sse`, or options. */
export function EventsProvider({
  url = DEFAULT_URL,
  options,
  connect = connectWithEventSource,
  children,
}: EventsProviderProps): ReactNode {
  const source = useMemo(
    () => new Source(url),
    [url, options?.user], // a new user is a new stream, even at the same URL
  );
  // Children open the connection in effects, which run before those of their parent.
  source.options = options ?? {};
  source.connect = connect;
  const latest = useRef(source);
  useEffect(() => {
    // What the connection before still does, until it is closed, does not reach the callbacks.
    if (latest.current !== source) latest.current.options = {};
    latest.current = source;
  }, [source]);
  return createElement(SourceContext.Provider, { value: source }, children);
}

/** Call `callback` for each event of these types, as in the replaced service.
 *
 * `types` and `callback` may be new with every render. The types `sse.reset` (events are missing:
 * load the state again) and `sse.closed` (the server ended the access) come from the node.
 */
export function useEvents<const T extends EventType | "sse.reset" | "sse.closed">(
  types: T | readonly T[],
  callback: (eventType: T, data: EventData<T>, event: SseEvent<T>) => void,
): void {
  const source = useContext(SourceContext);
  const latest = useRef({ types, callback });
  useEffect(() => {
    latest.current = { types, callback };
  });
  useEffect(
    () =>
      source.listen((eventType, data, event) => {
        const { types, callback } = latest.current;
        if (types === eventType || (typeof types === "object" && types.includes(eventType as T))) {
          callback(eventType as T, data, event as SseEvent<T>);
        }
      }),
    [source],
  );
}

/** Return the state of the connection; `connecting` on the server. */
export function useEventState(): ConnectionState {
  const source = useContext(SourceContext);
  return useSyncExternalStore(source.listenState, source.getState, () => "connecting");
}
