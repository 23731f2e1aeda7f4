import { renew } from "./actions";

/** Send JSON to sse-node, once more if the token has expired. Throws an Error that can be shown. */
export async function api(method: string, path: string, body?: object) {
  const ask = () =>
    fetch(`/api${path}`, {
      method,
      headers: body && { "Content-Type": "application/json" },
      body: body && JSON.stringify(body),
    });
  let response = await ask();
  if (response.status === 401 && (await renew())) response = await ask();
  const answer = response.status === 204 ? undefined : await response.json();
  if (!response.ok) throw new Error(answer.detail);
  return answer;
}
