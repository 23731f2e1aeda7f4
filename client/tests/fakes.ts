/** Stand-ins for what the browser and the network do; each test drives them by hand. */

import type { Failure, Transport, TransportEvents, TransportRequest } from "../src/types.js";

/** One request that the client has made. */
export interface Attempt extends TransportEvents {
  request: TransportRequest;
  isClosed: boolean;
}

/** A transport that does what the test says. */
export class FakeTransport {
  readonly attempts: Attempt[] = [];

  readonly transport: Transport = (request, on) => {
    const attempt: Attempt = { ...on, request, isClosed: false };
    this.attempts.push(attempt);
    return () => {
      attempt.isClosed = true;
    };
  };

  get last(): Attempt {
    return this.attempts.at(-1)!;
  }

  get open(): Attempt[] {
    return this.attempts.filter((attempt) => !attempt.isClosed);
  }

  /** Send `sse.open` with the position, then events `tick` with these ids. */
  send(position: string, ...ids: string[]): void {
    const { message } = this.last;
    message("sse.open", "{}", position);
    for (const id of ids) message("message", JSON.stringify({ eventType: "tick", id }), id);
  }

  end(failure: Failure = {}): void {
    this.last.end(failure);
  }
}

/** Let everything that was promised happen. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 10; i++) await Promise.resolve();
}
