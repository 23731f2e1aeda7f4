import { useEvents, useEventState, type Account } from "@sse-node/client/react";
import { useCallback, useEffect, useRef, useState } from "react";

import { api } from "./api";

type Change = (accounts: Account[]) => Account[];

/** The user's accounts: loaded once the stream is open, then moved by its events. */
export function useAccounts(): Account[] | undefined {
  const [accounts, setAccounts] = useState<Account[]>();
  const changes = useRef<Change[]>([]); // since the list was last asked for
  const isOpen = useEventState() === "open";

  const load = useCallback(async () => {
    changes.current = [];
    const loaded: Account[] = await api("GET", "/accounts");
    // What came meanwhile is in the list or not; to apply it twice changes nothing.
    setAccounts(changes.current.reduce((list, change) => change(list), loaded));
  }, []);
  useEffect(() => {
    if (isOpen) load();
  }, [isOpen, load]);

  const apply = (change: Change) => {
    changes.current.push(change);
    setAccounts((list) => list && change(list));
  };
  const without = (id: number) => (list: Account[]) => list.filter((account) => account.id !== id);
  useEvents("account.created", (_, { account }) =>
    apply((list) => [...without(account.id)(list), account]),
  );
  useEvents("account.updated", (_, { accountId, changes }) =>
    apply((list) => list.map((each) => (each.id === accountId ? { ...each, ...changes } : each))),
  );
  useEvents("account.deleted", (_, { accountId }) => apply(without(accountId)));
  useEvents("sse.reset", load); // events are missing
  return accounts;
}
