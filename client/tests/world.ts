/** Tabs, locks, channels and a node in virtual time, for tests of what tabs do to each other.
 *
 * Each tab is a realm of its own with the built client in it, as in a browser. One task runs at a
 * time; a frozen tab runs none.
 */

import { createContext, runInContext, type Context } from "node:vm";

import { buildSync } from "esbuild";

import type { Connection, ConnectOptions, Transport, TransportEvents } from "../src/types.js";

const CODE = buildSync({
  entryPoints: [new URL("../src/index.ts", import.meta.url).pathname],
  bundle: true,
  format: "iife",
  globalName: "client",
  write: false,
}).outputFiles[0]!.text;

const MAX_DELAY_MS = 8; // arbitrary; of a message between tabs, or from the node

/** A seeded generator (mulberry32), so that a failure can be repeated. */
export function seeded(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

interface Task {
  at: number;
  order: number;
  tab: Tab | undefined;
  run: () => void;
  isMessage?: true; // of another tab
}

interface LockRequest {
  tab: Tab;
  callback: () => unknown;
  resolve: (value: unknown) => void;
  reject: (error: unknown) => void;
}

interface OpenStream {
  tab: Tab;
  on: TransportEvents;
  lastAt: number;
}

export class World {
  now = 0;
  readonly tabs: Tab[] = [];
  readonly log: string[] = [];
  streams: OpenStream[] = [];
  isUp = true;
  hasLocks = true;
  requests = 0;
  private tasks: Task[] = [];
  private order = 0;
  private trimmed = 0;
  private held = new Map<string, LockRequest>();
  private queues = new Map<string, LockRequest[]>();
  readonly channels: { tab: Tab; name: string; port: { onmessage?: (message: unknown) => void }; lastAt: number }[] = [];

  constructor(readonly random: () => number) {
    this.log.push("1-0"); // the log is never empty
  }

  later(delay: number, run: () => void, tab?: Tab): Task {
    const task = { at: this.now + Math.max(0, delay), order: this.order++, tab, run };
    this.tasks.push(task);
    return task;
  }

  cancel(task: Task | undefined): void {
    this.tasks = this.tasks.filter((other) => other !== task);
  }

  dropMessages(tab: Tab): void {
    this.tasks = this.tasks.filter((task) => task.tab !== tab || !task.isMessage);
  }

  message(delay: number, run: () => void, tab: Tab): void {
    Object.assign(this.later(delay, run, tab), { isMessage: true });
  }

  async runFor(ms: number): Promise<void> {
    await this.runUntil(() => false, ms);
  }

  /** Run until a condition holds; return how long it took, in ms. */
  async runUntil(isTrue: () => boolean, ms = 60_000): Promise<number> {
    const start = this.now;
    const end = start + ms;
    await flush();
    while (!isTrue()) {
      const due = this.tasks.filter(({ tab, isMessage }) => !tab?.isFrozen && !(tab?.isSuspended && !isMessage));
      const next = due.reduce<Task | undefined>(
        (first, task) =>
          !first || task.at < first.at || (task.at === first.at && task.order < first.order) ? task : first,
        undefined,
      );
      if (!next || next.at > end) break;
      this.now = Math.max(this.now, next.at);
      this.cancel(next);
      if (!next.tab?.isClosed) next.run();
      await flush();
    }
    const took = this.now - start;
    if (!isTrue()) this.now = end;
    return isTrue() ? took : Infinity;
  }

  // The node

  publish(): string {
    const id = `${this.log.length + 1}-0`;
    this.log.push(id);
    for (const stream of this.streams) this.send(stream, "message", `{"eventType":"tick"}`, id);
    return id;
  }

  publishWithoutId(text: string): void {
    for (const stream of this.streams) this.send(stream, "message", JSON.stringify(text), "");
  }

  trim(): void {
    this.trimmed = this.log.length - 1;
  }

  cut(): void {
    const { streams } = this;
    this.streams = [];
    for (const { tab, on } of streams) this.later(1, () => on.end({}), tab);
  }

  transport(tab: Tab): Transport {
    return ({ lastEventId }, on) => {
      const stream = { tab, on, lastAt: 0 };
      this.requests++;
      this.later(5 + 20 * this.random(), () => {
        if (!isWanted || tab.isClosed) return;
        if (!this.isUp) return this.later(0, () => on.end({}), tab);
        this.streams.push(stream);
        const from = this.log.filter((id) => parseInt(id) <= parseInt(lastEventId)).length - 1;
        const tail = this.log.at(-1)!;
        if (lastEventId && from < this.trimmed) {
          this.send(stream, "sse.reset", '{"reason":"trimmed"}', tail);
          return this.send(stream, "sse.open", "{}", tail);
        }
        const replay = lastEventId ? this.log.slice(from + 1) : [];
        // As a node does: with nothing to replay, after the events of others.
        const position = lastEventId ? (replay.length ? lastEventId : `${parseInt(tail)}-7`) : tail;
        this.send(stream, "sse.open", "{}", position);
        for (const id of replay) {
          this.send(stream, "message", `{"eventType":"tick"}`, id);
        }
      });
      let isWanted = true;
      return () => {
        isWanted = false;
        this.streams = this.streams.filter((other) => other !== stream);
      };
    };
  }

  private send(stream: OpenStream, type: string, data: string, id: string): void {
    stream.lastAt = Math.max(stream.lastAt, this.now + MAX_DELAY_MS * this.random());
    this.later(stream.lastAt - this.now, () => stream.on.message(type, data, id), stream.tab);
  }

  // The browser

  requestLock(tab: Tab, name: string, options: { steal?: boolean; signal?: AbortSignal }, callback: () => unknown) {
    if (!this.hasLocks) return Promise.reject(named("SecurityError"));
    return new Promise((resolve, reject) => {
      const request = { tab, callback, resolve, reject };
      const queue = this.queues.get(name) ?? [];
      this.queues.set(name, queue);
      if (options.steal) {
        const holder = this.held.get(name);
        if (holder) this.later(0, () => holder.reject(named("AbortError")), holder.tab);
        this.grant(name, request);
        return;
      }
      queue.push(request);
      options.signal?.addEventListener("abort", () => {
        if (!queue.includes(request)) return;
        queue.splice(queue.indexOf(request), 1);
        reject(named("AbortError"));
      });
      this.grantNext(name);
    });
  }

  private grant(name: string, request: LockRequest): void {
    this.held.set(name, request);
    this.later(1, () => {
      void Promise.resolve(request.callback()).then((value) => {
        request.resolve(value);
        this.releaseLock(name, request);
      });
    }, request.tab);
  }

  private releaseLock(name: string, request: LockRequest): void {
    if (this.held.get(name) !== request) return;
    this.held.delete(name);
    this.grantNext(name);
  }

  private grantNext(name: string): void {
    const queue = this.queues.get(name)!;
    if (!this.held.has(name) && queue.length) this.grant(name, queue.shift()!);
  }

  closeTab(tab: Tab): void {
    this.streams = this.streams.filter((stream) => stream.tab !== tab);
    for (const [name, queue] of this.queues) {
      this.queues.set(name, queue.filter((request) => request.tab !== tab));
    }
    for (const [name, request] of this.held) if (request.tab === tab) this.releaseLock(name, request);
  }

  postMessage(port: object, name: string, message: unknown): void {
    const copy = JSON.stringify(message);
    for (const channel of this.channels) {
      if (channel.name !== name || channel.port === port || channel.tab.isClosed) continue;
      channel.lastAt = Math.max(channel.lastAt, this.now + MAX_DELAY_MS * this.random());
      this.message(channel.lastAt - this.now, () => channel.port.onmessage?.({ data: JSON.parse(copy) }), channel.tab);
    }
  }
}

/** One tab with one connection; opened when made. */
export class Tab {
  isFrozen = false; // runs nothing
  isSuspended = false; // runs nothing but messages of other tabs, as a page that Chromium has frozen
  private readonly document = new EventTarget();
  isClosed = false;
  readonly told: string[] = [];
  readonly connection: Connection;
  private readonly connect: (url: string, options: ConnectOptions) => Connection;

  constructor(
    readonly world: World,
    options: ConnectOptions = {},
  ) {
    world.tabs.push(this);
    this.connect = runInContext(`${CODE}\nclient.connect`, this.context());
    this.connection = this.open(options);
  }

  /** Open a connection, as a second part of the page might. */
  open(options: ConnectOptions = {}): Connection {
    return this.connect("http://node/events/sse", {
      shared: true,
      pingInterval: 0,
      retry: 500,
      maxRetry: 2000,
      transport: this.world.transport(this),
      onEvent: (_, data, { id }) => this.told.push(id || `${data}`),
      onReset: () => this.told.push("reset"),
      onClosed: ({ reason }) => this.told.push(reason),
      ...options,
    });
  }

  get isLeading(): boolean {
    return this.world.streams.some((stream) => stream.tab === this);
  }

  close(): void {
    this.isClosed = true;
    this.world.closeTab(this);
  }

  freeze(): void {
    this.isFrozen = true;
  }

  thaw(keepsMessages = true): void {
    this.isFrozen = false;
    if (!keepsMessages) this.world.dropMessages(this);
  }

  suspend(): void {
    this.document.dispatchEvent(new Event("freeze"));
    this.isSuspended = true;
  }

  resume(): void {
    this.isSuspended = false;
    this.document.dispatchEvent(new Event("resume"));
  }

  private context(): Context {
    const { world } = this;
    const tab = this;
    const after = (delay: number, run: () => void) => world.later(delay, run, tab);
    const every = (period: number, run: () => void, timer: { task?: Task }) => {
      timer.task = after(period, () => {
        every(period, run, timer);
        run();
      });
      return timer;
    };
    const channel = class {
      onmessage?: (message: unknown) => void;
      private readonly entry;
      constructor(private readonly name: string) {
        this.entry = { tab, name, port: this as object, lastAt: 0 };
        world.channels.push(this.entry);
      }
      postMessage(message: unknown) {
        if (!world.channels.includes(this.entry)) throw new Error("InvalidStateError: closed");
        world.postMessage(this, this.name, message);
      }
      close() {
        const index = world.channels.indexOf(this.entry);
        if (index >= 0) world.channels.splice(index, 1);
      }
    };
    const context = createContext({
      setTimeout: (run: () => void, delay: number) => after(delay, run),
      clearTimeout: (task: Task) => world.cancel(task),
      setInterval: (run: () => void, period: number) => every(period, run, {}),
      clearInterval: (timer: { task: Task }) => world.cancel(timer.task),
      performance: { now: () => world.now },
      AbortController,
      BroadcastChannel: channel,
      document: this.document,
      navigator: {
        locks: {
          request: (name: string, options: object, callback: () => unknown) =>
            world.requestLock(tab, name, options, callback),
        },
      },
      now: () => 1_700_000_000_000 + world.now,
      random: world.random,
    });
    runInContext("Date = { now }; Math.random = random", context);
    return context;
  }
}

const named = (name: string) => Object.assign(new Error(name), { name });
const flush = () => new Promise((resolve) => setImmediate(resolve));
