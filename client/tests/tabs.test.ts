import { beforeEach, describe, expect, it } from "vitest";

import type { ConnectOptions } from "../src/types.js";
import { seeded, Tab, World } from "./world.js";

let world: World;

beforeEach(() => {
  world = new World(seeded(1));
});

const live = () => world.tabs.filter((tab) => !tab.isClosed && !tab.isFrozen && !tab.isSuspended);
const leader = () => live().find((tab) => tab.isLeading)!;
const followers = () => live().filter((tab) => !tab.isLeading);
const haveAll = (id: string) => () => live().every((tab) => tab.told.at(-1) === id);

async function openTabs(count: number, options = {}): Promise<Tab[]> {
  const tabs = Array.from({ length: count }, () => new Tab(world, options));
  await world.runUntil(() => tabs.every((tab) => tab.connection.state === "open"));
  return tabs;
}

it("one stream serves all tabs", async () => {
  const tabs = await openTabs(7);
  expect(world.streams.length).toBe(1);
  const ids = [world.publish(), world.publish(), world.publish()];
  world.publishWithoutId("no id");
  await world.runFor(1000);
  for (const tab of tabs) expect(tab.told).toEqual([...ids, "no id"]);
  expect(world.requests).toBe(1);
});

it("a tab that is opened later begins where the others are", async () => {
  await openTabs(2);
  world.publish();
  await world.runFor(1000);
  const late = new Tab(world);
  await world.runUntil(() => late.connection.state === "open");
  expect(late.connection.lastEventId).toBe(world.log.at(-1));
  const id = world.publish();
  await world.runFor(1000);
  expect(late.told).toEqual([id]);
});

it("a tab that is opened with an older id gets what is between", async () => {
  const [first] = await openTabs(1);
  const ids = [world.publish(), world.publish(), world.publish()];
  await world.runFor(1000);
  const late = new Tab(world, { lastEventId: ids[0] });
  await world.runUntil(() => late.told.length === 2);
  expect(late.told).toEqual(ids.slice(1));
  expect(first!.told).toEqual(ids);
  expect(world.streams.length).toBe(1);
});

it("a tab whose id was trimmed gets a reset, the others don't", async () => {
  const [first] = await openTabs(1);
  const ids = [world.publish(), world.publish(), world.publish()];
  await world.runFor(1000);
  world.trim();
  const late = new Tab(world, { lastEventId: ids[0] });
  await world.runUntil(() => late.told.length === 1);
  const id = world.publish();
  await world.runFor(1000);
  expect(late.told).toEqual(["reset", id]);
  expect(first!.told).toEqual([...ids, id]);
});

describe("a leader that", () => {
  beforeEach(async () => {
    await openTabs(5);
  });

  it("is closed is replaced at once", async () => {
    leader().close();
    const id = world.publish();
    expect(await world.runUntil(haveAll(id), 2000)).toBeLessThan(100);
  });

  it("calls close() is replaced at once", async () => {
    const old = leader();
    old.connection.close();
    const id = world.publish();
    const others = world.tabs.filter((tab) => tab !== old);
    expect(await world.runUntil(() => others.every((tab) => tab.told.at(-1) === id), 2000)).toBeLessThan(100);
    expect(old.told).toEqual([]);
  });

  it("is frozen is replaced within 2 s, and follows when it runs again", async () => {
    const old = leader();
    old.freeze();
    const first = world.publish();
    expect(await world.runUntil(haveAll(first), 2000)).toBeLessThan(2000);
    await world.runFor(60_000);
    old.thaw();
    const second = world.publish();
    await world.runFor(2000);
    for (const tab of world.tabs) expect(tab.told).toEqual([first, second]);
    expect(world.streams.length).toBe(1);
    expect(leader()).not.toBe(old);
  });

  it("is frozen by Chromium, where it still answers, is replaced at once", async () => {
    const old = leader();
    old.suspend();
    const first = world.publish();
    const others = world.tabs.filter((tab) => tab !== old);
    const hasFirst = (tab: Tab) => tab.told.at(-1) === first;
    expect(await world.runUntil(() => others.every(hasFirst), 2000)).toBeLessThan(100);
    await world.runFor(60_000);
    expect(old.isLeading).toBe(false);
    for (const tab of others) tab.close();
    await world.runFor(1000);
    expect(world.streams.length).toBe(0);
    old.resume();
    const second = world.publish();
    await world.runFor(2000);
    expect(old.told).toEqual([first, second]);
  });

  it("is closed while it replays leaves no gap", async () => {
    for (let round = 0; round < 4; round++) {
      for (let i = 0; i < 20; i++) world.publish();
      await world.runUntil(() => live().some((tab) => tab.told.at(-1) === world.log.at(-4)));
      leader().close(); // some have arrived at some tabs
    }
    await world.runUntil(haveAll(world.log.at(-1)!));
    for (const tab of live()) expect(tab.told).toEqual(world.log.slice(1));
  });
});

it("what a frozen leader had read is ignored when it runs again", async () => {
  const tabs = await openTabs(3);
  const old = leader();
  const { on } = world.streams[0]!;
  old.freeze();
  world.later(10, () => on.message("message", '"stale"', ""), old);
  await world.runFor(5000);
  old.thaw(false);
  await world.runFor(100);
  expect(world.streams.length).toBe(1);
  expect(old.isLeading).toBe(false);
  await world.runFor(5000);
  for (const tab of tabs) expect(tab.told).toEqual(tab === old ? ["stale"] : []);
});

it("several tabs that miss the same events are served by one more request", async () => {
  await openTabs(1);
  const ids = [world.publish(), world.publish(), world.publish()];
  await world.runFor(1000);
  const late = Array.from({ length: 4 }, () => new Tab(world, { lastEventId: ids[0] }));
  await world.runUntil(() => late.every((tab) => tab.told.length === 2));
  await world.runFor(5000);
  for (const tab of late) expect(tab.told).toEqual(ids.slice(1));
  expect(world.requests).toBe(2);
});

it("a tab that closes when it is about to lead leaves nothing", async () => {
  const tabs = await openTabs(2);
  const abort = new AbortController();
  let isArmed = false;
  const closing = new Tab(world, {
    signal: abort.signal,
    onState: (state) => {
      if (isArmed && state === "connecting") abort.abort();
    },
  });
  await world.runUntil(() => closing.connection.state === "open");
  isArmed = true;
  for (const tab of tabs) tab.close();
  await world.runFor(5000);
  expect(closing.connection.state).toBe("closed");
  expect(world.streams.length).toBe(0);
  const [last] = await openTabs(1);
  expect(last!.isLeading).toBe(true);
});

it("where locks are refused each tab has a stream", async () => {
  world.hasLocks = false;
  const tabs = await openTabs(2);
  const id = world.publish();
  await world.runFor(5000);
  for (const tab of tabs) expect(tab.told).toEqual([id]);
  expect(world.requests).toBe(2);
});

it("a follower that was frozen catches up, with and without its messages", async () => {
  const tabs = await openTabs(3);
  for (const keepsMessages of [true, false]) {
    const [frozen] = followers();
    frozen!.freeze();
    for (let i = 0; i < 10; i++) world.publish();
    await world.runFor(60_000);
    frozen!.thaw(keepsMessages);
    expect(await world.runUntil(haveAll(world.log.at(-1)!))).toBeLessThan(2000);
  }
  for (const tab of tabs) expect(tab.told).toEqual(world.log.slice(1));
  expect(world.streams.length).toBe(1);
});

it("tabs that all were frozen go on with one stream", async () => {
  const tabs = await openTabs(4);
  for (const tab of tabs) tab.freeze();
  world.publish();
  await world.runFor(600_000);
  for (const tab of tabs) tab.thaw();
  world.publish();
  await world.runFor(5000);
  for (const tab of tabs) expect(tab.told).toEqual(world.log.slice(1));
  expect(world.streams.length).toBe(1);
});

it("states are the leader's", async () => {
  const tabs = await openTabs(3);
  world.isUp = false;
  world.cut();
  await world.runFor(100);
  expect(tabs.map((tab) => tab.connection.state)).toEqual(["waiting", "waiting", "waiting"]);
  world.isUp = true;
  await world.runUntil(() => tabs.every((tab) => tab.connection.state === "open"), 10_000);
  expect(tabs.map((tab) => tab.connection.state)).toEqual(["open", "open", "open"]);
});

it("the end of access is told to all tabs, with one request", async () => {
  const tabs = await openTabs(3);
  world.streams[0]!.on.message("sse.closed", '{"reason":"replaced"}', "");
  await world.runFor(5000);
  for (const tab of tabs) expect(tab.told).toEqual(["replaced"]);
  expect(tabs.map((tab) => tab.connection.state)).toEqual(["closed", "closed", "closed"]);
  expect([world.requests, world.channels.length]).toEqual([1, 0]);
});

it("a leader that was replaced by another tab's stream ends nothing", async () => {
  await openTabs(3);
  const old = leader();
  const { on } = world.streams[0]!;
  old.freeze();
  world.later(500, () => on.message("sse.closed", '{"reason":"replaced"}', ""), old);
  await world.runFor(5000);
  old.thaw();
  await world.runFor(1000);
  const id = world.publish();
  await world.runFor(2000);
  for (const tab of world.tabs) expect(tab.told).toEqual([id]);
});

it("a tab whose token was refused leaves the stream to one that gets another", async () => {
  const first = new Tab(world, { getToken: (refused) => (refused ? undefined : "old") });
  await world.runUntil(() => first.connection.state === "open");
  const second = new Tab(world, { getToken: () => "new" });
  await world.runUntil(() => second.connection.state === "open");
  world.streams[0]!.on.end({ status: 401 });
  await world.runFor(1000);
  expect(first.told).toEqual(["unauthorized"]);
  const id = world.publish();
  await world.runFor(1000);
  expect(second.told).toEqual([id]);
});

it("all tabs learn which status the stream waits after", async () => {
  const failures: unknown[] = [];
  const onState: ConnectOptions["onState"] = (state, { status }) => state === "waiting" && failures.push(status);
  const tabs = [0, 1, 2].map(() => new Tab(world, { onState }));
  await world.runUntil(() => tabs.every((tab) => tab.connection.state === "open"));
  world.streams[0]!.on.end({ status: 404 });
  await world.runUntil(() => failures.length === 3);
  expect(failures).toEqual([404, 404, 404]);
});

it("tabs of different users share nothing", async () => {
  const ann = new Tab(world, { user: "ann" });
  const bob = new Tab(world, { user: "bob" });
  await world.runUntil(() => ann.connection.state === "open" && bob.connection.state === "open");
  expect(world.streams.length).toBe(2);
});

it("1,000 connections leave nothing behind", async () => {
  const [tab] = await openTabs(1);
  const others = [];
  for (let i = 0; i < 1000; i++) {
    others.push(tab!.open());
    if (others.length > 3) others.shift()!.close();
    if (i % 2) await world.runFor(3);
  }
  for (const connection of [tab!.connection, ...others]) connection.close();
  await world.runFor(5000);
  expect([world.streams.length, world.channels.length]).toEqual([0, 0]);
  const [last] = await openTabs(1);
  expect(last!.isLeading).toBe(true);
});

describe("whatever happens, every tab has each event once and in order, or a reset", () => {
  const SEEDS = Number(process.env.SSE_TABS_SEEDS ?? 60);
  it.each(Array.from({ length: SEEDS }, (_, index) => index + 1))("seed %i", async (seed) => {
    world = new World(seeded(seed));
    const { random } = world;
    await openTabs(2);
    let resets = 0;
    for (let step = 0; step < 80; step++) {
      const tabs = world.tabs.filter((tab) => !tab.isClosed);
      const any = tabs[Math.floor(random() * tabs.length)];
      const what = random();
      if (what < 0.4) for (let i = random() * 20; i > 0; i--) world.publish();
      else if (what < 0.5 && tabs.length < 6) new Tab(world, random() < 0.5 ? {} : { lastEventId: world.log.at(-1 - Math.floor(random() * 3)) });
      else if (what < 0.6 && tabs.length > 1) any!.close();
      else if (what < 0.65) any!.freeze();
      else if (what < 0.7 && !any!.isFrozen) any!.suspend();
      else if (what < 0.85) {
        any!.thaw(random() < 0.5);
        if (any!.isSuspended) any!.resume();
      }
      else if (what < 0.9) world.cut();
      else if (what < 0.95) world.isUp = !world.isUp;
      else if (random() < 0.3) {
        world.trim();
        resets++;
      }
      await world.runFor(random() < 0.5 ? 20 * random() : 2000 * random());
    }
    world.isUp = true;
    for (const tab of world.tabs) {
      if (tab.isFrozen) tab.thaw();
      if (tab.isSuspended) tab.resume();
    }
    await world.runFor(10_000);
    const last = world.publish();
    await world.runFor(5000);
    expect(live().map((tab) => tab.told.at(-1))).toEqual(live().map(() => last));
    expect(world.streams.length).toBe(1);
    expect(new Set(live().map((tab) => tab.connection.state))).toEqual(new Set(["open"]));
    for (const { told } of world.tabs) {
      if (!resets) expect(told).not.toContain("reset");
      for (const [index, id] of told.entries()) {
        const before = told[index - 1];
        if (!before || before === "reset" || id === "reset") continue;
        expect(world.log.indexOf(id)).toBe(world.log.indexOf(before) + 1);
      }
    }
  });
});
