import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

import { afterEach, beforeEach, expect, it, vi } from "vitest";

import { connect } from "../src/fetch.js";
import type { Connection } from "../src/types.js";

const STREAM = { "Content-Type": "text/event-stream; charset=utf-8" };

let server: ReturnType<typeof createServer>;
let url: string;
let requests: { head: IncomingMessage; response: ServerResponse }[];
let connections: Connection[];
let told: unknown[];

beforeEach(async () => {
  requests = [];
  connections = [];
  told = [];
  server = createServer((head, response) => requests.push({ head, response }));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/events/sse`;
});

afterEach(() => {
  for (const connection of connections) connection.close();
  server.closeAllConnections();
  server.close();
});

function open(options: Parameters<typeof connect>[1] = {}) {
  const connection = connect(url, {
    retry: 20,
    maxRetry: 50,
    onEvent: (_, data, { id }) => told.push([id, data.text]),
    onReset: ({ reason }) => told.push(reason),
    onClosed: (closed) => told.push(closed),
    ...options,
  });
  connections.push(connection);
  return connection;
}

async function request(number: number) {
  await vi.waitFor(() => expect(requests.length).toBeGreaterThan(number), 5000);
  return requests[number]!;
}

const event = (id: string, text: string) =>
  `id: ${id}\ndata: ${JSON.stringify({ eventType: "tick", text })}\n\n`;

it("sends position, token and headers as headers", async () => {
  open({ lastEventId: "1-0", getToken: () => "secret", headers: async () => ({ "X-Tenant": "t" }) });
  const { head } = await request(0);
  expect(head.url).toBe("/events/sse");
  expect(head.headers).toMatchObject({
    accept: "text/event-stream",
    "last-event-id": "1-0",
    authorization: "Bearer secret",
    "x-tenant": "t",
  });
});

it("reads events however they are cut, and resumes after the last", async () => {
  open();
  const { response } = await request(0);
  response.writeHead(200, STREAM);
  const bytes = Buffer.from(`retry: 30\n${event("1-1", "å😀")}${event("1-2", "b")}data: {"eventType":"x","text":"no id"}\n\n`);
  for (const byte of bytes) {
    response.write(Buffer.of(byte));
    await new Promise(setImmediate);
  }
  response.end();
  const second = await request(1);
  expect(second.head.headers["last-event-id"]).toBe("1-2");
  second.response.writeHead(200, STREAM).end(event("1-2", "b") + event("1-3", "c"));
  await request(2);
  expect(told).toEqual([["1-1", "å😀"], ["1-2", "b"], ["", "no id"], ["1-3", "c"]]);
});

it("honours retry", async () => {
  open({ retry: 60_000, maxRetry: 60_000, pingInterval: 0 });
  const { response } = await request(0);
  response.writeHead(200, STREAM).end("retry: 1\n\n");
  await request(1);
});

it.each([500, 503, 404, 302])("survives status %i", async (status) => {
  open();
  (await request(0)).response.writeHead(status).end();
  (await request(1)).response.writeHead(200, STREAM).write(event("1-1", "a"));
  await vi.waitFor(() => expect(told).toEqual([["1-1", "a"]]));
});

it("survives a wrong content type, a cut connection and a server that is away", async () => {
  open();
  (await request(0)).response.writeHead(200, { "Content-Type": "text/html" }).end("<p>Sign in");
  const { response } = await request(1);
  response.writeHead(200, STREAM).write(event("1-1", "a"));
  await vi.waitFor(() => expect(told.length).toBe(1));
  const { port } = server.address() as AddressInfo;
  server.close();
  server.closeAllConnections();
  await vi.waitFor(() => expect(connections[0]!.state).toBe("waiting"));
  server = createServer((head, response) => requests.push({ head, response })).listen(port, "127.0.0.1");
  (await request(2)).response.writeHead(200, STREAM).write(event("1-2", "b"));
  await vi.waitFor(() => expect(told).toEqual([["1-1", "a"], ["1-2", "b"]]));
});

it("stops for good on 204", async () => {
  const connection = open();
  (await request(0)).response.writeHead(204).end();
  await vi.waitFor(() => expect(told).toEqual([{ reason: "no-content", status: 204 }]));
  expect(connection.state).toBe("closed");
});

it("renews a token that was refused, and stops when it cannot", async () => {
  const tokens = ["old", "new", "new"];
  open({ getToken: () => tokens.shift() });
  (await request(0)).response.writeHead(401).end();
  const { head, response } = await request(1);
  expect(head.headers.authorization).toBe("Bearer new");
  response.writeHead(200, STREAM).end('event: sse.closed\ndata: {"reason":"revoked"}\n\n');
  await vi.waitFor(() => expect(told).toEqual([{ reason: "revoked" }]));
  expect(requests.length).toBe(2);
});

it("closes its connection to the server", async () => {
  const connection = open();
  const { head, response } = await request(0);
  const closed = new Promise((resolve) => head.socket.once("close", resolve));
  response.writeHead(200, STREAM).write(event("1-1", "a"));
  await vi.waitFor(() => expect(told.length).toBe(1));
  connection.close();
  await closed;
});

it("drops what comes after close, within one read", async () => {
  const connection = open({ onEvent: (_, __, { id }) => told.push(id) && connection.close() });
  (await request(0)).response.writeHead(200, STREAM).write(event("1-1", "a") + event("1-2", "b"));
  await vi.waitFor(() => expect(told).toEqual(["1-1"]));
  expect(connection.lastEventId).toBe("1-1");
});
