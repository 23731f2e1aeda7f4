"use client";

import { EventsProvider } from "@sse-node/client/react";
import { useState, type ReactNode } from "react";

import { renew } from "./actions";

/** Give the components below it the user's events: one connection, for all tabs if there is a user. */
export function Events({ user, children }: { user?: string; children: ReactNode }) {
  const [tokens, setTokens] = useState(0);
  const [problem, setProblem] = useState("");
  const onClosed = async ({ reason }: { reason: string }) => {
    if (reason === "token-expired" && (await renew())) setTokens(tokens + 1);
    else setProblem(reason);
  };
  return (
    <EventsProvider key={tokens} options={{ user, onClosed }}>
      {problem ? <p role="alert">The events have ended: {problem}. Log in again.</p> : children}
    </EventsProvider>
  );
}
