"use server";
/** What the page asks this server to do: everything else goes to sse-node. */

import { forgetUser, readUser, setUser } from "../session";

/** Log in. Check a password here: this example believes everybody. */
export async function login(form: FormData): Promise<void> {
  await setUser(String(form.get("user")));
}

export async function logout(): Promise<void> {
  await forgetUser();
}

/** Set a cookie with a new token. Return whether the user is still logged in. */
export async function renew(): Promise<boolean> {
  const user = await readUser();
  if (user) await setUser(user);
  return Boolean(user);
}
