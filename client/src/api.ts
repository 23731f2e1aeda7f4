/** The types of the HTTP API and of events. Made by `make client-types`: do not edit. */

/** An account. */
export interface Account {
  id: number;
  name: string;
  balance: number;
  userId: string;
  createdAt: string;
}

/** One change of an account, and the version that it made. */
export interface AccountChange {
  version: number;
  eventType: "account.created" | "account.updated";
  at: string;
  changes: Record<string, string | number>;
}

/** The content of `PATCH /accounts/{id}`. */
export interface AccountChanges {
  name?: string;
  balance?: number;
}

/** An account was created. */
export interface AccountCreated {
  accountId: number;
  account: Account;
}

/** An account was deleted. */
export interface AccountDeleted {
  accountId: number;
}

/** An account was changed. */
export interface AccountUpdated {
  accountId: number;
  changes: Changes;
}

/** The node serves. */
export interface Alive {
  status: "ok" | "ready";
  serverId: string;
}

/** The balance of an account moved. */
export interface BalanceChanged {
  accountId: number;
  from: number;
  to: number;
}

/** The members that were set. */
export interface Changes {
  name?: string;
  balance?: number;
}

/** Access has ended; the stream does, too. */
export interface Closed {
  reason: "replaced" | "revoked" | "token-expired";
}

/** One event as a client posts it in structured mode; other attributes are ignored. */
export interface CloudEventContent {
  specversion: "1.0";
  id: string;
  source: string;
  type: string;
  subject?: string;
  channel?: string;
  data?: unknown;
}

/** A message that was not delivered, and why. */
export interface DeadLetter {
  failedAt: string;
  attempts: number;
  error: string;
  message: Record<string, unknown>;
}

/** One attempt to deliver a message. */
export interface Delivery {
  id: string;
  eventType: string;
  attempt: number;
  at: string;
  durationMs: number;
  status: number | null;
  error: string | null;
}

/** One event as a client posts it; `userId` or `channel`. */
export interface EventContent {
  eventType: string;
  data: unknown;
  userId?: string;
  channel?: string;
  volatile?: boolean;
}

/** Events that a webhook does not get; how many may be unknown. */
export interface Gap {
  from: string;
  until: string;
  count: number | null;
}

/** The content of `POST /accounts`. */
export interface NewAccount {
  name: string;
  balance: number;
  userId?: string;
}

/** The content of `POST /revocations`; `user` or `jti`. */
export interface NewRevocation {
  user?: string;
  jti?: string;
  /** Unix seconds; RFC 3339 text is accepted, too. */
  until?: number;
}

/** The content of `POST /webhooks`. */
export interface NewWebhook {
  url: string;
  events: ("*" | string)[];
  userId?: string;
  secret?: string;
}

/** The stream is open. */
export interface Opened {
  serverId: string;
  resumed: boolean;
  replayed: number;
}

/** One event of the log, as its streams had it. */
export interface PastEvent {
  id: string;
  eventType: string;
  data: unknown;
}

/** The answer of `GET /events`. */
export interface PastEventsPage {
  events: PastEvent[];
  trimmed: boolean;
  next: string | null;
}

/** The node and the way to it are alive. */
export interface Ping {
  type: string;
  serverId: string;
  timestamp: number;
}

/** Why a request was not carried out (RFC 9457). */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
}

/** The ids of the events, in order; null for a volatile one. */
export interface Published {
  ids: (string | null)[];
}

/** The id of a message that is on its way. */
export interface Queued {
  id: string;
}

/** How many messages are on their way again. */
export interface Replayed {
  replayed: number;
}

/** Events may be missing: load your state again. */
export interface Reset {
  reason: "bad-id" | "rollback" | "trimmed" | "unavailable" | "unknown-id";
}

/** Whose access has ended, and until when, in Unix seconds. */
export interface Revoked {
  until: number;
  user?: string;
  jti?: string;
}

/** An account as it was when a snapshot job ran. */
export interface Snapshot {
  account: Account;
  date: string;
  userId: string;
}

/** A snapshot job is done. */
export interface SnapshotsGenerated {
  snapshotCount: number;
  timestamp: string;
  serverId: string;
}

/** One event of a stream (WHATWG HTML, Server-sent events). */
export interface StreamItem {
  data: string;
  event?: string;
  id?: string;
  retry?: number;
}

/** The message that `POST /webhooks/{id}/test` queues. */
export interface Tested {
}

/** A webhook. */
export interface Webhook {
  id: string;
  userId: string;
  url: string;
  events: string[];
  enabled: boolean;
  disabledReason: string | null;
  createdAt: string;
  failedAttempts: number;
  queued: number;
  deadLetters: number;
  missedEvents: number;
  openGap: Gap | null;
}

/** The content of `PATCH /webhooks/{id}`. */
export interface WebhookChanges {
  url?: string;
  events?: ("*" | string)[];
  enabled?: boolean;
  secret?: string;
  rotateSecret?: boolean;
}

/** The content of a message of a webhook. */
export interface WebhookMessage {
  type: string;
  timestamp: string;
  userId: string;
  data: unknown;
}

/** A webhook with a new secret, which is shown once. */
export interface WebhookWithSecret {
  id: string;
  userId: string;
  url: string;
  events: string[];
  enabled: boolean;
  disabledReason: string | null;
  createdAt: string;
  failedAttempts: number;
  queued: number;
  deadLetters: number;
  missedEvents: number;
  openGap: Gap | null;
  secret?: string;
}

/** The data of the events that a node publishes itself, by event type. */
export interface NodeEvents {
  "account.created": AccountCreated;
  "account.updated": AccountUpdated;
  "balance.changed": BalanceChanged;
  "account.deleted": AccountDeleted;
  "snapshots.generated": SnapshotsGenerated;
}
