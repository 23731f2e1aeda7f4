"use client";

import { useEvents, useEventState } from "@sse-node/client/react";
import { useState, type FormEvent } from "react";

import { api } from "./api";
import { useAccounts } from "./use-accounts";

export function Accounts() {
  const accounts = useAccounts();
  const state = useEventState();
  const [snapshots, setSnapshots] = useState("");
  const [problem, setProblem] = useState("");

  useEvents(["snapshots.generated"], (eventType, data) => {
    setSnapshots(`${data.snapshotCount} snapshots by ${data.serverId}`);
  });

  const attempt = (work: Promise<unknown>) =>
    work.then(
      () => setProblem(""),
      (error: Error) => setProblem(error.message),
    );
  const create = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const account = { name: form.get("name"), balance: Number(form.get("balance")) };
    attempt(api("POST", "/accounts", account));
  };

  return (
    <>
      <p role="status">
        {state === "open" ? "Live" : "Reconnecting …"} {snapshots}
      </p>
      <form onSubmit={create}>
        <label>
          Name <input name="name" required maxLength={256} />
        </label>
        <label>
          Balance <input name="balance" type="number" step="any" required />
        </label>
        <button>Create account</button>
      </form>
      {problem && <p role="alert">{problem}</p>}
      <ul>
        {accounts?.map(({ id, name, balance }) => (
          <li key={id}>
            {name}: {balance}
            <button aria-label={`Delete ${name}`} onClick={() => attempt(api("DELETE", `/accounts/${id}`))}>
              Delete
            </button>
          </li>
        ))}
      </ul>
    </>
  );
}
