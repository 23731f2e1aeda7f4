"use client";

import { EventsProvider } from "@sse-node/client/react";
import { useState, type ReactNode } from "react";

import { renew } from "./actions";

/** Give the components below it the user's events: one connection, for all tabs if there is a user. */
export function Events({ user, children }: { user?: string; children: ReactNode }) {
  const [reason, setReason] = useState("");
  const options = {
    user,
    getToken: async (refused: boolean) => !refused || (await renew()) || undefined,
    onClosed: (closed: { reason: string }) => setReason(closed.reason),
  };
  return (
    <EventsProvider options={options}>
      {reason && <p role="alert">The events have ended: {reason}. Log in again.</p>}
      {children}
    </EventsProvider>
  );
}
