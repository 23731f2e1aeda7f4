// Requests, and how curl makes the same.

const REQUESTS_SHOWN = 12;      // the newest of each method and path
const requests = new Map();     // method and path -> {row, answer, command}

/** Sends JSON. Returns the answer's content and the click, or throws an Error whose message can be shown. */
async function send(method, path, body) {
  const at = now();
  const headers = body ? { "Content-Type": "application/json" } : {};
  const content = body && JSON.stringify(body);
  const asked = { method, headers: withToken(headers), body: content, signal: AbortSignal.timeout(10000) };
  const noteAnswer = noteRequest(method, path, headers, content);
  const response = await fetch(path, asked).catch(() => {
    noteAnswer("no answer");
    throw new Error(`No answer came from the server.${method === "GET" ? "" : " Look whether it was done before you try again."}`);
  });
  const took = `${response.status} in ${span(now() - at)}`;
  noteAnswer(took);
  const server = response.headers.get("X-Server-Id") ?? "?";
  if (method !== "GET") figure("answered", server, took);
  const answer = await response.json().catch(() => null);
  if (response.ok) return { content: answer, click: { at, server } };
  throw Object.assign(new Error(answer?.detail ?? answer?.title ?? `The server answered ${response.status}.`), { status: response.status });
}

/** Lists a request with its command. Returns a function that is told the answer. */
function noteRequest(method, path, headers = {}, content = "") {
  const what = `${method} ${path.split("?")[0]}`;
  const request = requests.get(what) ?? makeRequest(what);
  requests.delete(what);        // and to the end: the newest
  requests.set(what, request);
  request.command.textContent = curl(method, path, headers, content);
  if ($("requests").firstChild !== request.row) $("requests").prepend(request.row);
  for (const [old, { row }] of requests) {
    if (requests.size <= REQUESTS_SHOWN) break;
    requests.delete(old);
    row.remove();
  }
  return (text) => (request.answer.textContent = text);
}

function makeRequest(what) {
  const answer = make("span", "quiet");
  const command = make("pre", "");
  const button = make("button", "", "Copy curl");
  Object.assign(button, { type: "button", ariaLabel: `Copy curl: ${what}` });
  command.tabIndex = 0;
  button.addEventListener("click", async () => {
    const isCopied = await copy(command);
    $("copied").textContent = isCopied ? `Copied: ${what}` : "The browser does not allow it; the command is selected.";
  });
  const details = make("details", "", make("summary", "", make("code", "", what), " ", answer), command);
  return { row: make("li", "", details, button), answer, command };
}

/** A command for a shell. The token stays in the shell's variable TOKEN. */
function curl(method, path, headers, content) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const isStream = path.startsWith("/events/sse");
  const words = [`curl${isStream ? " -N" : ""}${method === "GET" ? "" : ` -X ${method}`} ${quoted(location.origin + path)}`];
  for (const [name, value] of Object.entries(headers)) words.push(`-H ${quoted(`${name}: ${value}`)}`);
  if (token) words.push('-H "Authorization: Bearer $TOKEN"');
  if (content) words.push(`-d ${quoted(content)}`);
  return words.join(" \\\n  ");
}

/** Copies an element's text. Browsers offer the clipboard to pages of HTTPS and of this computer only. */
async function copy(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return true;
  } catch {
    element.parentElement.open = true;
    getSelection().selectAllChildren(element);
    return document.execCommand("copy");
  }
}

/** Does a form's work, once at a time, and shows its failure beside it. */
async function run(form, errorId, work) {
  if (form.ariaBusy === "true") return;
  form.ariaBusy = "true";
  warn(errorId, "");
  await work().catch((error) => warn(errorId, error.message));
  form.ariaBusy = "false";
}

function onSubmit(form, errorId, work) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run(form, errorId, work);
  });
}
