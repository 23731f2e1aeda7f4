// @vitest-environment happy-dom
import { act, StrictMode, useState } from "react";
import { createRoot, hydrateRoot, type Root } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { afterEach, beforeEach, expect, it, vi } from "vitest";

import { connect as connectOverFetch } from "../src/fetch.js";
import {
  EventsProvider,
  useEvents,
  useEventState,
  type Connection,
  type ConnectOptions,
} from "../src/react.js";

/** A connection that the test drives. */
class FakeConnection implements Connection {
  static all: FakeConnection[] = [];
  static get open() {
    return FakeConnection.all.filter(({ state }) => state !== "closed");
  }
  state: Connection["state"] = "connecting";
  lastEventId = "";

  constructor(
    readonly url: string,
    readonly options: ConnectOptions,
  ) {
    FakeConnection.all.push(this);
    options.onState?.("connecting", {});
  }

  send(eventType: string, data: object = {}, id = "1-0") {
    act(() => this.options.onEvent!(eventType, data, { id, eventType, data }));
  }

  become(state: Connection["state"]) {
    this.state = state;
    act(() => this.options.onState!(state, {}));
  }

  close() {
    this.become("closed");
  }
}

const connect = (url: string, options: ConnectOptions) => new FakeConnection(url, options);

let container: HTMLElement;
let root: Root;

beforeEach(() => {
  vi.stubGlobal("IS_REACT_ACT_ENVIRONMENT", true);
  vi.useFakeTimers();
  vi.spyOn(console, "error");
  FakeConnection.all = [];
  container = document.createElement("div");
  root = createRoot(container);
});

afterEach(() => {
  act(() => root.unmount());
  act(() => vi.runAllTimers());
  expect(FakeConnection.open).toEqual([]);
  expect(console.error).not.toHaveBeenCalled();
  vi.useRealTimers();
});

function render(element: React.ReactNode, props: Partial<React.ComponentProps<typeof EventsProvider>> = {}) {
  act(() =>
    root.render(
      <StrictMode>
        <EventsProvider url="/events/sse" connect={connect} {...props}>
          {element}
        </EventsProvider>
      </StrictMode>,
    ),
  );
}

it("calls back for subscribed types, with data and the whole event", () => {
  const callback = vi.fn();
  function App() {
    useEvents(["a", "b"], callback);
    return null;
  }
  render(<App />);
  const [connection] = FakeConnection.open;
  connection!.send("a", { n: 1 }, "1-1");
  connection!.send("c");
  connection!.send("b", { n: 2 }, "1-2");
  expect(callback.mock.calls).toEqual([
    ["a", { n: 1 }, { id: "1-1", eventType: "a", data: { n: 1 } }],
    ["b", { n: 2 }, { id: "1-2", eventType: "b", data: { n: 2 } }],
  ]);
});

it("takes a single type, and sse.reset and sse.closed", () => {
  const callback = vi.fn();
  function App() {
    useEvents("sse.reset", (type, data) => callback(type, data.reason));
    useEvents("sse.closed", (type, data) => callback(type, data.reason));
    return null;
  }
  const onReset = vi.fn();
  render(<App />, { options: { onReset } });
  act(() => FakeConnection.open[0]!.options.onReset!({ reason: "trimmed" }));
  act(() => FakeConnection.open[0]!.options.onClosed!({ reason: "revoked" }));
  expect(callback.mock.calls).toEqual([["sse.reset", "trimmed"], ["sse.closed", "revoked"]]);
  expect(onReset.mock.calls).toEqual([[{ reason: "trimmed" }]]);
});

it("opens one connection for all components, StrictMode or not", () => {
  function App() {
    useEvents("a", () => {});
    useEventState();
    return null;
  }
  render(Array.from({ length: 50 }, (_, index) => <App key={index} />));
  expect(FakeConnection.all.length).toBe(1);
  expect(FakeConnection.all[0]!.url).toBe("/events/sse");
});

it("keeps its connection when lists, callbacks, options and connect are new at each render", () => {
  const calls: number[] = [];
  function App({ number }: { number: number }) {
    useEvents([number > 1 ? "late" : "early"], () => calls.push(number));
    return null;
  }
  for (const number of [0, 1, 2]) {
    render(<App number={number} />, {
      options: { user: "ann", onState: () => {} },
      connect: (url, options) => connect(url, options),
    });
    FakeConnection.all[0]!.send("early");
    FakeConnection.all[0]!.send("late");
  }
  expect(calls).toEqual([0, 1, 2]);
  expect(FakeConnection.all.length).toBe(1);
});

it("opens another connection for another user or URL", () => {
  function App() {
    useEvents("a", () => {});
    return null;
  }
  render(<App />, { options: { user: "ann" } });
  render(<App />, { options: { user: "bob" } });
  render(<App />, { url: "/other", options: { user: "bob" } });
  act(() => vi.runAllTimers());
  expect(FakeConnection.open.map(({ url, options }) => [url, options.user])).toEqual([["/other", "bob"]]);
  expect(FakeConnection.all.length).toBe(3);
});

it("renders again for subscribed types only", () => {
  let renders = 0;
  function App() {
    const [count, setCount] = useState(0);
    useEvents("a", () => setCount((n) => n + 1));
    renders++;
    return count;
  }
  render(<App />);
  const before = renders;
  for (let i = 0; i < 10; i++) FakeConnection.open[0]!.send("b");
  FakeConnection.open[0]!.become("waiting");
  expect(renders).toBe(before);
  FakeConnection.open[0]!.send("a");
  expect(renders).toBeGreaterThan(before);
  expect(container.textContent).toBe("1");
});

it("shows the state", () => {
  function App() {
    return useEventState();
  }
  render(<App />);
  expect(container.textContent).toBe("connecting");
  FakeConnection.open[0]!.become("open");
  expect(container.textContent).toBe("open");
  FakeConnection.open[0]!.become("waiting");
  expect(container.textContent).toBe("waiting");
});

it("a callback that throws does not keep an event from the others", () => {
  const callback = vi.fn();
  function Bad() {
    useEvents("a", () => {
      throw new Error("in a component");
    });
    return null;
  }
  function Good() {
    useEvents("a", callback);
    return null;
  }
  render([<Bad key={1} />, <Good key={2} />]);
  FakeConnection.open[0]!.send("a");
  expect(callback).toHaveBeenCalledTimes(1);
  expect(() => vi.runAllTimers()).toThrow("in a component");
});

it("closes some time after the last component is gone, and survives a remount", () => {
  function App() {
    useEvents("a", () => {});
    return null;
  }
  render(<App />);
  for (let i = 0; i < 1000; i++) {
    render(null);
    render(<App />);
  }
  act(() => vi.runAllTimers());
  expect(FakeConnection.all.length).toBe(1);
  expect(FakeConnection.open.length).toBe(1);
  render(null);
  act(() => vi.runAllTimers());
  expect(FakeConnection.open.length).toBe(0);
  render(<App />);
  expect(FakeConnection.open.length).toBe(1);
});

it("asks the getToken of the latest render", async () => {
  function App() {
    useEvents("a", () => {});
    return null;
  }
  render(<App />, { options: { getToken: () => "first" } });
  render(<App />, { options: { getToken: (refused) => (refused ? "second, renewed" : "second") } });
  const { getToken } = FakeConnection.open[0]!.options;
  expect(await getToken!(true)).toBe("second, renewed");
});

it("tells callbacks nothing of a connection that another user's has replaced", () => {
  const onState = vi.fn();
  const onEvent = vi.fn();
  function App() {
    useEvents("a", () => {});
    return null;
  }
  render(<App />, { options: { user: "ann", onState, onEvent } });
  const [old] = FakeConnection.open;
  render(<App />, { options: { user: "bob", onState, onEvent } });
  FakeConnection.open[1]!.become("open");
  old!.send("a", { of: "ann" });
  act(() => vi.runAllTimers());
  expect(old!.state).toBe("closed");
  expect(onState.mock.lastCall).toEqual(["open", {}]);
  expect(onEvent).not.toHaveBeenCalled();
});

it("does nothing on the server, and hydrates without a warning", () => {
  function App() {
    useEvents(["a"], () => {});
    return <p>{useEventState()}</p>;
  }
  const page = (
    <EventsProvider url="/events/sse" connect={connect}>
      <App />
    </EventsProvider>
  );
  container = document.createElement("div");
  container.innerHTML = renderToString(page);
  expect(container.innerHTML).toBe("<p>connecting</p>");
  expect(FakeConnection.all).toEqual([]);
  act(() => {
    root = hydrateRoot(container, page);
  });
  FakeConnection.open[0]!.become("open");
  expect(container.innerHTML).toBe("<p>open</p>");
});

it("without a provider the stream is /api/events/sse", () => {
  class FakeEventSource extends EventTarget {
    static urls: string[] = [];
    constructor(url: URL) {
      super();
      FakeEventSource.urls.push(url.pathname);
    }
    close() {}
  }
  vi.stubGlobal("EventSource", FakeEventSource);
  function App() {
    useEvents(["snapshots.generated"], (eventType, data) => {
      const type: "snapshots.generated" = eventType;
      const count: number = data.snapshotCount;
      void [type, count];
    });
    return null;
  }
  act(() => root.render(<App />));
  return vi.waitFor(() => expect(FakeEventSource.urls).toEqual(["/api/events/sse"]));
});

it("takes connect of the entry for fetch, with its options", () => {
  const fetch = vi.fn(() => new Promise<Response>(() => {}));
  function App() {
    useEvents("a", () => {});
    return null;
  }
  act(() =>
    root.render(
      <EventsProvider url="http://node/events/sse" connect={connectOverFetch} options={{ fetch, headers: { "X-A": "b" } }}>
        <App />
      </EventsProvider>,
    ),
  );
  return vi.waitFor(() => expect(fetch).toHaveBeenCalledTimes(1));
});
