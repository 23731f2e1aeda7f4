import { beforeEach, expect, it, vi } from "vitest";

import { eventSourceTransport } from "../src/event-source.js";
import type { Failure } from "../src/types.js";
import { settle } from "./fakes.js";

/** As much of EventSource as the transport uses. */
class FakeEventSource extends EventTarget {
  static last: FakeEventSource;
  readyState = 0;
  onopen = () => {};
  onerror = () => {};

  constructor(
    readonly url: URL,
    readonly init: EventSourceInit,
  ) {
    super();
    FakeEventSource.last = this;
  }

  open() {
    this.readyState = 1;
    this.onopen();
  }

  fail(readyState: 0 | 2) {
    this.readyState = readyState;
    this.onerror();
  }

  send(type: string, data: string, lastEventId: string) {
    this.dispatchEvent(Object.assign(new Event(type), { data, lastEventId }));
  }

  close() {
    this.readyState = 2;
  }
}

let told: unknown[];
let fetched: [URL, RequestInit][];
let answer: () => Promise<Response>;

beforeEach(() => {
  told = [];
  fetched = [];
  vi.stubGlobal("EventSource", FakeEventSource);
  vi.stubGlobal("fetch", (url: URL, init: RequestInit) => {
    fetched.push([url, init]);
    return answer();
  });
});

function open(request = {}) {
  const close = eventSourceTransport(
    {
      url: "http://node/events/sse?channels=news",
      lastEventId: "",
      token: undefined,
      withCredentials: false,
      eventNames: [],
      ...request,
    },
    {
      message: (type, data, id) => told.push([type, data, id]),
      retry: () => told.push("retry"),
      lost: () => told.push("lost"),
      end: (failure: Failure) => told.push(failure),
    },
  );
  return { source: FakeEventSource.last, close };
}

it("puts position and token into the query", () => {
  const { source } = open({ lastEventId: "1-0", token: "a b", withCredentials: true });
  const query = "channels=news&lastEventId=1-0&access_token=a+b";
  expect(source.url.href).toBe(`http://node/events/sse?${query}`);
  expect(source.init).toEqual({ withCredentials: true });
});

it("listens to the node's events and to those that are named", () => {
  const { source } = open({ eventNames: ["order.paid", "message"] });
  source.open();
  for (const [index, type] of ["message", "ping", "sse.open", "sse.reset", "sse.closed", "order.paid", "x"].entries()) {
    source.send(type, type, `${index}-0`);
  }
  expect(told.map((event) => (event as string[])[0])).toEqual([
    ...["message", "ping", "sse.open", "sse.reset", "sse.closed", "order.paid"],
  ]);
});

it("knows which events have an id", () => {
  const { source } = open();
  source.open();
  source.send("sse.open", "o", "1-0");
  source.send("ping", "p", "1-0");
  source.send("message", "a", "1-1");
  source.send("message", "b", "1-1"); // has none
  source.send("message", "a", "1-2");
  expect(told).toEqual([
    ["sse.open", "o", "1-0"],
    ["ping", "p", ""],
    ["message", "a", "1-1"],
    ["message", "b", ""],
    ["message", "a", "1-2"],
  ]);
});

it("passes the id of an event that is sent twice, so that it is dropped", () => {
  const { source } = open();
  source.open();
  source.send("message", "a", "1-1");
  source.send("message", "a", "1-1");
  source.fail(0);
  source.open();
  source.send("message", "a", "1-1");
  expect(told.filter((event) => event !== "lost")).toEqual(Array(3).fill(["message", "a", "1-1"]));
});

it("knows that the first event after a reconnect has no id", () => {
  const { source } = open();
  source.open();
  source.send("message", "a", "1-1");
  source.fail(0);
  source.open();
  source.send("message", "b", "1-1"); // a browser keeps the id of the stream before
  expect(told.at(-1)).toEqual(["message", "b", ""]);
});

it("leaves a stream that was open to the browser, which honours retry", async () => {
  const { source } = open();
  source.open();
  source.fail(0);
  await settle();
  expect(told).toEqual(["lost"]);
  expect(source.readyState).toBe(0);
  source.open();
  source.fail(0);
  expect(told).toEqual(["lost", "lost"]);
});

it("stops a browser that repeats a failing request", async () => {
  const { source } = open();
  source.open();
  source.fail(0);
  source.fail(0);
  await settle();
  expect(told).toEqual(["lost", {}]);
  expect(source.readyState).toBe(2);
  expect(fetched).toEqual([]);
});

it.each([204, 401, 503, 200])("asks for the status when the browser gives up: %i", async (status) => {
  answer = async () => new Response(null, { status, headers: { "Retry-After": "7" } });
  const { source } = open({ withCredentials: true, token: "t" });
  source.fail(2);
  await vi.waitFor(() => expect(told).toEqual([{ status, retryAfter: 7000 }]));
  const [url, init] = fetched[0]!;
  expect(url.href).toBe(source.url.href);
  expect(init).toMatchObject({ credentials: "include", headers: { Accept: "text/event-stream" } });
  expect(init.signal!.aborted).toBe(true); // a stream that was opened by it is closed
});

it("takes a question that fails for the network", async () => {
  answer = () => Promise.reject(new TypeError("failed"));
  const { source } = open();
  source.fail(2);
  await vi.waitFor(() => expect(told).toEqual([{}]));
});

it("closes the source and the question", async () => {
  answer = () => new Promise(() => {});
  const { source, close } = open();
  source.fail(2);
  close();
  expect(source.readyState).toBe(2);
  expect(fetched[0]![1].signal!.aborted).toBe(true);
});
