import { setMaxListeners } from "node:events";

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { connect } from "../src/connect.js";
import type { ConnectOptions } from "../src/types.js";
import { FakeTransport, settle } from "./fakes.js";

const URL = "http://node/events/sse";

let fake: FakeTransport;
let told: unknown[];

beforeEach(() => {
  vi.useFakeTimers();
  fake = new FakeTransport();
  told = [];
});

afterEach(() => {
  vi.useRealTimers();
});

async function open(options: ConnectOptions = {}) {
  const connection = connect(URL, {
    transport: fake.transport,
    onEvent: (_, data, event) => told.push(event.id || data),
    onReset: ({ reason }) => told.push(`reset ${reason}`),
    onClosed: (closed) => told.push(closed),
    ...options,
  });
  await settle();
  return connection;
}

/** Let the time pass until the next attempt; return how long it took. */
async function nextAttempt(): Promise<number> {
  const before = fake.attempts.length;
  const start = Date.now();
  while (fake.attempts.length === before) {
    if (Date.now() - start > 4_000_000) throw new Error("no further attempt");
    await vi.advanceTimersByTimeAsync(10);
  }
  return Date.now() - start;
}

async function expectNoFurtherAttempt() {
  const before = fake.attempts.length;
  await vi.advanceTimersByTimeAsync(600_000);
  expect(fake.attempts.length).toBe(before);
  expect(vi.getTimerCount()).toBe(0);
}

describe("events", () => {
  it("arrive after a connection that had nothing to replay, while others had events", async () => {
    const connection = await open();
    fake.send("1-0", "2-0");
    fake.end();
    await nextAttempt();
    expect(fake.last.request.lastEventId).toBe("2-0");
    fake.send("5-0", "6-0"); // the node is at 5-0
    expect(told).toEqual(["2-0", "6-0"]);
    expect(connection.lastEventId).toBe("6-0");
    expect(fake.attempts.length).toBe(2);
  });

  it("have the type and data that the node sent", async () => {
    const onEvent = vi.fn();
    await open({ onEvent });
    fake.send("1-0");
    fake.last.message("message", '{"eventType":"order.paid","order":7}', "1-1");
    const data = { eventType: "order.paid", order: 7 };
    expect(onEvent.mock.calls).toEqual([["order.paid", data, { id: "1-1", eventType: "order.paid", data }]]);
  });

  it("have the name of the event field with --event-names", async () => {
    const onEvent = vi.fn();
    await open({ onEvent });
    fake.last.message("order.paid", '{"order":7}', "1-1");
    expect(onEvent.mock.calls[0]![0]).toBe("order.paid");
  });

  it("that are not JSON arrive as text", async () => {
    await open();
    fake.last.message("message", "hello", "");
    fake.last.message("message", "null", "");
    expect(told).toEqual(["hello", null]);
  });

  it("are delivered once and in order", async () => {
    await open();
    fake.send("1-0", "1-1", "1-2", "1-2", "1-1", "2-0", "1-10", "10-0", "9-0");
    expect(told).toEqual(["1-1", "1-2", "2-0", "10-0"]);
  });

  it("without an id are all delivered", async () => {
    await open();
    fake.send("1-0");
    for (let i = 0; i < 2; i++) fake.last.message("message", '"same"', "");
    expect(told).toEqual(["same", "same"]);
  });

  it("that were seen before a reconnect are dropped", async () => {
    await open();
    fake.send("1-0", "1-1", "1-2");
    fake.end();
    await nextAttempt();
    expect(fake.last.request.lastEventId).toBe("1-2");
    fake.send("1-0", "1-1", "1-2", "1-3");
    expect(told).toEqual(["1-1", "1-2", "1-3"]);
  });

  it("of a stream that was given up are ignored", async () => {
    await open();
    fake.send("1-0", "1-1");
    const old = fake.last;
    fake.end();
    await nextAttempt();
    old.message("message", "{}", "1-2");
    old.end({ status: 204 });
    expect(told).toEqual(["1-1"]);
    expect(fake.open.length).toBe(1);
  });

  it("go on after a callback has thrown, and the error is reported", async () => {
    await open({
      onEvent: (_, __, { id }) => {
        told.push(id);
        throw new Error("in the callback");
      },
    });
    fake.send("1-0", "1-1", "1-2");
    expect(told).toEqual(["1-1", "1-2"]);
    expect(() => vi.runOnlyPendingTimers()).toThrow("in the callback");
  });

  it("a reset comes first and moves the position, also backwards", async () => {
    const connection = await open({ lastEventId: "9-0" });
    fake.last.message("sse.reset", '{"reason":"rollback"}', "5-0");
    fake.send("5-0", "6-0");
    expect(told).toEqual(["reset rollback", "6-0"]);
    expect(connection.lastEventId).toBe("6-0");
  });

  it("the position is known before the first event", async () => {
    const connection = await open();
    fake.send("1-0");
    expect(connection.lastEventId).toBe("1-0");
    fake.end();
    await nextAttempt();
    expect(fake.last.request.lastEventId).toBe("1-0");
  });
});

describe("the last id", () => {
  const storage = () => {
    const items = new Map<string, string>();
    return {
      items,
      getItem: (key: string) => items.get(key) ?? null,
      setItem: (key: string, value: string) => void items.set(key, value),
    };
  };

  it("resumes from a text", async () => {
    await open({ lastEventId: "7-0" });
    expect(fake.last.request.lastEventId).toBe("7-0");
  });

  it("survives in a storage, by user and URL", async () => {
    const kept = storage();
    const connection = await open({ lastEventId: kept, user: "ann", shared: false });
    fake.send("1-0", "1-1");
    connection.close();
    await open({ lastEventId: kept, user: "ann", shared: false });
    expect(fake.last.request.lastEventId).toBe("1-1");
    await open({ lastEventId: kept, user: "bob", shared: false });
    expect(fake.last.request.lastEventId).toBe("");
  });

  it("is stored after the event was delivered", async () => {
    const kept = storage();
    await open({ lastEventId: kept, onEvent: () => told.push([...kept.items.values()]) });
    fake.send("1-0", "1-1");
    expect(told).toEqual([["1-0"]]);
    expect([...kept.items.values()]).toEqual(["1-1"]);
  });

  it("a storage that is full does not stop the stream", async () => {
    await open({
      lastEventId: {
        getItem: () => null,
        setItem: () => {
          throw new Error("full");
        },
      },
    });
    fake.send("1-0", "1-1", "1-2");
    expect(told).toEqual(["1-1", "1-2"]);
    expect(() => vi.runOnlyPendingTimers()).toThrow("full");
  });
});

describe("backoff", () => {
  it("is full jitter that doubles up to its maximum", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0.5);
    await open({ retry: 1000, maxRetry: 5000, pingInterval: 0 });
    const waits = [];
    for (let i = 0; i < 5; i++) {
      fake.end({ status: 503 });
      waits.push(await nextAttempt());
    }
    expect(waits).toEqual([500, 1000, 2000, 2500, 2500]);
  });

  it.each([500, 502, 503, 404, 200, undefined])("goes on after status %s", async (status) => {
    await open();
    for (let i = 0; i < 3; i++) {
      fake.end({ status });
      await nextAttempt();
    }
    fake.send("1-0", "1-1");
    expect(told).toEqual(["1-1"]);
  });

  it("says which status it waits after", async () => {
    const failures: unknown[] = [];
    await open({ onState: (state, failure) => failures.push(state, failure) });
    failures.length = 0;
    fake.end({ status: 404 });
    await nextAttempt();
    fake.end();
    expect(failures).toEqual(["waiting", { status: 404 }, "connecting", {}, "waiting", {}]);
  });

  it("waits exactly the reconnection time of a stream that was fine", async () => {
    await open({ maxRetry: 30_000 });
    fake.last.retry(5000);
    fake.send("1-0");
    fake.end();
    expect(await nextAttempt()).toBe(5000);
  });

  it("never waits less than a reconnection time or Retry-After just sent", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0);
    await open({ pingInterval: 0 });
    for (let i = 0; i < 4; i++) {
      fake.last.retry(4000);
      fake.end();
      expect(await nextAttempt()).toBe(4000);
    }
    fake.end({ status: 503, retryAfter: 60_000 });
    expect(await nextAttempt()).toBe(60_000);
  });

  it("starts again after an event", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0.5);
    await open({ retry: 1000 });
    for (let i = 0; i < 4; i++) {
      fake.end();
      await nextAttempt();
    }
    fake.send("1-0");
    fake.end();
    expect(await nextAttempt()).toBe(500);
  });

  it("is spread over its whole range", async () => {
    await open({ retry: 1000, maxRetry: 1000 });
    const waits = [];
    for (let i = 0; i < 100; i++) {
      fake.end();
      waits.push(await nextAttempt());
    }
    expect(Math.min(...waits)).toBeLessThan(150);
    expect(Math.max(...waits)).toBeGreaterThan(850);
    expect(Math.max(...waits)).toBeLessThanOrEqual(1010);
  });

  it("is longer than what setTimeout can do", async () => {
    await open({ pingInterval: 0 });
    fake.end({ status: 503, retryAfter: 1e12 });
    expect(await nextAttempt()).toBe(3_600_000);
  });
});

describe("the end of access", () => {
  it("204 is for good", async () => {
    const connection = await open();
    fake.end({ status: 204 });
    expect(told).toEqual([{ reason: "no-content", status: 204 }]);
    expect(connection.state).toBe("closed");
    await expectNoFurtherAttempt();
  });

  it.each([401, 403])("%i is for good without getToken", async (status) => {
    await open();
    fake.end({ status });
    expect(told).toEqual([{ reason: "unauthorized", status }]);
    await expectNoFurtherAttempt();
  });

  it("401 is for good when getToken returns the same token", async () => {
    const getToken = vi.fn(async () => "old");
    await open({ getToken });
    expect(fake.last.request.token).toBe("old");
    fake.end({ status: 401 });
    await settle();
    expect(getToken.mock.calls).toEqual([[false], [true]]);
    expect(told).toEqual([{ reason: "unauthorized", status: 401 }]);
    await expectNoFurtherAttempt();
  });

  it("401 is for good when getToken returns nothing", async () => {
    await open({ getToken: (refused) => (refused ? undefined : "old") });
    fake.end({ status: 401 });
    await settle();
    expect(told).toEqual([{ reason: "unauthorized", status: 401 }]);
    await expectNoFurtherAttempt();
  });

  it("a new token is tried at once, and resumes", async () => {
    await open({ getToken: (refused) => (refused ? "new" : "old") });
    fake.send("1-0", "1-1");
    fake.end({ status: 401 });
    await settle();
    expect(fake.last.request).toMatchObject({ token: "new", lastEventId: "1-1" });
    fake.send("1-1", "1-2");
    expect(told).toEqual(["1-1", "1-2"]);
  });

  it("a cookie is renewed, again and again", async () => {
    const getToken = vi.fn(async () => true as const);
    await open({ getToken });
    for (const id of ["1-1", "1-2"]) {
      fake.send("1-0", id);
      fake.last.message("sse.closed", '{"reason":"token-expired"}', "");
      await settle();
      await vi.advanceTimersByTimeAsync(30_000);
      expect(fake.last.request).toMatchObject({ token: undefined, lastEventId: id });
    }
    expect(getToken.mock.calls).toEqual([[false], [true], [true]]);
    expect(told).toEqual(["1-1", "1-2"]);
  });

  it("403 is for good when the cookie has just been renewed", async () => {
    const getToken = vi.fn(async () => true as const);
    await open({ getToken });
    fake.end({ status: 403 });
    await settle();
    fake.end({ status: 403 });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(getToken.mock.calls).toEqual([[false], [true], [true]]);
    expect(told).toEqual([{ reason: "unauthorized", status: 403 }]);
    await expectNoFurtherAttempt();
  });

  it("the token of a request that the network lost may come again", async () => {
    let token = "old";
    await open({ getToken: () => token });
    token = "new";
    fake.end({ status: 401 });
    await settle();
    expect(fake.last.request.token).toBe("new");
    fake.end();
    await nextAttempt();
    fake.send("1-0", "1-1");
    expect(told).toEqual(["1-1"]);
  });

  it("new tokens that are all refused are tried with backoff", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0.5);
    let number = 0;
    const failures: unknown[] = [];
    const onState: ConnectOptions["onState"] = (state, { status }) => state === "waiting" && failures.push(status);
    await open({ getToken: () => `token ${number++}`, retry: 1000, pingInterval: 0, onState });
    const waits = [];
    for (let i = 0; i < 4; i++) {
      fake.end({ status: 401 });
      await settle();
      waits.push(i ? await nextAttempt() : 0);
    }
    expect(fake.attempts.length).toBe(5);
    expect(waits).toEqual([0, 500, 1000, 2000]);
    expect(failures).toEqual([401, 401, 401]);
  });

  it("getToken that fails is asked again later", async () => {
    let calls = 0;
    await open({
      getToken: async () => {
        if (!calls++) throw new Error("offline");
        return "token";
      },
    });
    expect(fake.attempts.length).toBe(0);
    await nextAttempt();
    expect(fake.last.request.token).toBe("token");
  });

  it.each(["token-expired", "revoked", "replaced"])("sse.closed %s is for good", async (reason) => {
    await open();
    fake.send("1-0", "1-1");
    fake.last.message("sse.closed", JSON.stringify({ reason }), "");
    fake.last.message("message", "{}", "1-2");
    expect(told).toEqual(["1-1", { reason }]);
    await expectNoFurtherAttempt();
  });

  it("an expired token is renewed", async () => {
    await open({ getToken: (refused) => (refused ? "new" : "old") });
    fake.send("1-0", "1-1");
    fake.last.message("sse.closed", '{"reason":"token-expired"}', "");
    await settle();
    expect(fake.last.request).toMatchObject({ token: "new", lastEventId: "1-1" });
    expect(told).toEqual(["1-1"]);
  });

  it.each([0, 3000])("tokens of 5 s are renewed at once, with %i ms to the first", async (first) => {
    const states: string[] = [];
    let number = 0;
    await open({ getToken: () => `token ${number++}`, onState: (state) => states.push(state) });
    for (const lifetime of [first, 5000, 5000]) {
      fake.send("1-0");
      await vi.advanceTimersByTimeAsync(lifetime);
      fake.last.message("sse.closed", '{"reason":"token-expired"}', "");
      await settle();
    }
    expect(fake.last.request.token).toBe("token 3");
    expect(states).not.toContain("waiting");
  });

  it("tokens that expire at once are not renewed one after the other", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0.5);
    let number = 0;
    await open({ getToken: () => `token ${number++}`, retry: 1000, pingInterval: 0 });
    const waits = [];
    for (let i = 0; i < 4; i++) {
      fake.send("1-0");
      fake.last.message("sse.closed", '{"reason":"token-expired"}', "");
      await settle();
      waits.push(i ? await nextAttempt() : 0);
    }
    expect(waits).toEqual([0, 500, 500, 500]);
  });

  it("an expired token that is not renewed has the reason of sse.closed", async () => {
    await open({ getToken: (refused) => (refused ? undefined : "old") });
    fake.send("1-0");
    fake.last.message("sse.closed", '{"reason":"token-expired"}', "");
    await settle();
    expect(told).toEqual([{ reason: "token-expired" }]);
    await expectNoFurtherAttempt();
  });

  it("a stream that was replaced does not ask for a token", async () => {
    await open({ getToken: () => `${Math.random()}` });
    fake.send("1-0");
    fake.last.message("sse.closed", '{"reason":"replaced"}', "");
    expect(told).toEqual([{ reason: "replaced" }]);
    await expectNoFurtherAttempt();
  });
});

describe("silence", () => {
  it("of 2.5 ping intervals reconnects at once", async () => {
    await open({ pingInterval: 1000 });
    fake.send("1-0", "1-1");
    await vi.advanceTimersByTimeAsync(2400);
    expect(fake.attempts.length).toBe(1);
    await vi.advanceTimersByTimeAsync(400);
    expect(fake.attempts.length).toBe(2);
    expect(fake.last.request.lastEventId).toBe("1-1");
    expect(fake.open.length).toBe(1);
  });

  it("is broken by pings", async () => {
    await open({ pingInterval: 1000 });
    fake.send("1-0");
    for (let i = 0; i < 20; i++) {
      await vi.advanceTimersByTimeAsync(1000);
      fake.last.message("ping", JSON.stringify({ type: "ping", timestamp: 1000 * i }), "");
    }
    expect(fake.attempts.length).toBe(1);
    expect(told).toEqual([]);
  });

  it.each([200, 60_000])("follows the node's interval of %i ms", async (interval) => {
    await open({ pingInterval: 15_000 });
    fake.send("1-0");
    for (const timestamp of [5, 5 + interval]) fake.last.message("ping", JSON.stringify({ timestamp }), "");
    await vi.advanceTimersByTimeAsync(2.4 * interval);
    expect(fake.attempts.length).toBe(1);
    const longest = 0.4 * interval + 3750; // the look that was due before
    for (let waited = 0; waited < longest && fake.attempts.length < 2; waited += interval / 4)
      await vi.advanceTimersByTimeAsync(interval / 4); // no longer: the next request is silent, too
    expect(fake.attempts.length).toBe(2);
  });

  it("of a request that is not answered backs off", async () => {
    const states: string[] = [];
    await open({ pingInterval: 1000, onState: (state) => states.push(state) });
    await vi.advanceTimersByTimeAsync(2800);
    expect(states.slice(0, 2)).toEqual(["connecting", "waiting"]);
    expect(fake.attempts[0]!.isClosed).toBe(true);
    if (fake.attempts.length === 1) await nextAttempt();
  });

  it("is ignored with pingInterval 0", async () => {
    await open({ pingInterval: 0 });
    fake.send("1-0");
    fake.last.message("ping", '{"timestamp":1}', "");
    fake.last.message("ping", '{"timestamp":2}', "");
    await vi.advanceTimersByTimeAsync(600_000);
    expect(fake.attempts.length).toBe(1);
  });

  it("a clock that is set back or forward loses nothing", async () => {
    await open({ pingInterval: 1000 });
    fake.send("1-0", "1-1");
    vi.setSystemTime(Date.now() - 3_600_000);
    await vi.advanceTimersByTimeAsync(2800);
    expect(fake.attempts.length).toBe(2); // by the monotonic clock
    fake.send("1-1", "1-2");
    vi.setSystemTime(Date.now() + 3_600_000);
    await vi.advanceTimersByTimeAsync(500);
    expect(fake.attempts.length).toBe(3); // as after a sleep
    fake.send("1-2", "1-3");
    expect(told).toEqual(["1-1", "1-2", "1-3"]);
  });
});

describe("the page", () => {
  const page = (visibilityState = "visible") => {
    const window = new EventTarget();
    const document = Object.assign(new EventTarget(), { visibilityState });
    const count = { added: 0 };
    setMaxListeners(0, window, document);
    for (const target of [window, document]) {
      const { addEventListener, removeEventListener } = target;
      target.addEventListener = (...args: Parameters<typeof addEventListener>) => {
        count.added++;
        addEventListener.apply(target, args);
      };
      target.removeEventListener = (...args: Parameters<typeof removeEventListener>) => {
        count.added--;
        removeEventListener.apply(target, args);
      };
    }
    vi.stubGlobal("addEventListener", window.addEventListener);
    vi.stubGlobal("removeEventListener", window.removeEventListener);
    vi.stubGlobal("document", document);
    return { window, document, count };
  };

  it("that is online again reconnects at once", async () => {
    const { window } = page();
    await open();
    fake.send("1-0", "1-1");
    window.dispatchEvent(new Event("online"));
    await settle();
    expect(fake.attempts.length).toBe(2);
    expect(fake.last.request.lastEventId).toBe("1-1");
  });

  it.each([
    ["resume", "document"],
    ["visibilitychange", "document"],
    ["pageshow", "window"],
  ] as const)("checks at once after %s", async (event, target) => {
    const targets = page();
    await open({ pingInterval: 15_000 });
    fake.send("1-0", "1-1");
    targets[target].dispatchEvent(new Event(event));
    await settle();
    expect(fake.attempts.length).toBe(1); // it is fine
    vi.setSystemTime(Date.now() + 60_000); // slept
    targets[target].dispatchEvent(new Event(event));
    await settle();
    expect(fake.attempts.length).toBe(2);
    fake.end();
    targets[target].dispatchEvent(new Event(event));
    await settle();
    expect(fake.attempts.length).toBe(3); // without waiting for the backoff
  });

  it("that is hidden does not check", async () => {
    const { document } = page("hidden");
    await open();
    fake.end();
    document.dispatchEvent(new Event("visibilitychange"));
    await settle();
    expect(fake.attempts.length).toBe(1);
  });

  it("a browser that waits to reconnect by itself is not waited for", async () => {
    const { document } = page();
    await open();
    fake.send("1-0");
    fake.last.lost();
    document.dispatchEvent(new Event("resume"));
    await settle();
    expect(fake.attempts.length).toBe(2);
    expect(fake.open.length).toBe(1);
  });

  it("has no listener of 1,000 closed connections", async () => {
    const { count } = page();
    const connections = await Promise.all(Array.from({ length: 1000 }, () => open()));
    expect(count.added).toBe(4000);
    for (const connection of connections) connection.close();
    expect(count.added).toBe(0);
    expect(fake.open.length).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe("states", () => {
  it("are told in order and once", async () => {
    const states: string[] = [];
    const connection = await open({ onState: (state) => states.push(state) });
    fake.send("1-0", "1-1");
    fake.last.lost();
    fake.send("1-1", "1-2");
    fake.end();
    await nextAttempt();
    fake.send("1-2");
    connection.close();
    const lifetime = ["connecting", "open", "waiting", "open", "waiting", "connecting", "open", "closed"];
    expect(states).toEqual(lifetime);
  });
});

describe("close", () => {
  it("ends everything, at any time", async () => {
    const connection = await open({ onState: (state) => state === "closed" && told.push(state) });
    fake.send("1-0");
    connection.close();
    connection.close();
    fake.last.message("message", "{}", "1-1");
    expect(told).toEqual(["closed"]);
    expect(fake.open.length).toBe(0);
    await expectNoFurtherAttempt();
  });

  it.each(["connecting", "open", "waiting"] as const)("works in onState %s", async (when) => {
    const abort = new AbortController();
    await open({
      signal: abort.signal,
      onState: (state) => {
        if (state === when) abort.abort();
      },
    });
    if (when !== "connecting") {
      fake.send("1-0", "1-1");
      fake.end();
    }
    expect(told).toEqual(when === "waiting" ? ["1-1"] : []);
    await expectNoFurtherAttempt();
  });

  it("works while a token is awaited", async () => {
    let resolve = (_: string) => {};
    const connection = await open({ getToken: () => new Promise((r) => (resolve = r)) });
    connection.close();
    resolve("late");
    await settle();
    expect(fake.attempts.length).toBe(0);
  });

  it("works in onEvent, and nothing comes after it", async () => {
    const abort = new AbortController();
    await open({
      signal: abort.signal,
      onEvent: (_, __, { id }) => {
        told.push(id);
        abort.abort();
      },
    });
    fake.send("1-0", "1-1", "1-2");
    expect(told).toEqual(["1-1"]);
  });

  it("an AbortSignal that was aborted before opens nothing", async () => {
    const connection = await open({ signal: AbortSignal.abort() });
    expect(connection.state).toBe("closed");
    expect(fake.attempts.length).toBe(0);
    await expectNoFurtherAttempt();
  });
});

it("says what to use where EventSource is not there", () => {
  vi.stubGlobal("EventSource", undefined);
  expect(() => connect(URL)).toThrow("@sse-node/client/fetch");
});
