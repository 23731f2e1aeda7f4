// The token.

const TOKEN_KEY = "sse-node token";
let token = "";                 // in this tab only, and never in a URL, which servers log

function readToken() {
  try {
    return sessionStorage.getItem(TOKEN_KEY) ?? "";
  } catch {                     // the browser keeps nothing for this page
    return "";
  }
}

function keepToken(text) {
  token = $("token").value = text;
  try {
    if (token) sessionStorage.setItem(TOKEN_KEY, token);
    else sessionStorage.removeItem(TOKEN_KEY);
  } catch { /* the browser keeps nothing for this page */ }
}

const withToken = (headers) => (token ? { ...headers, Authorization: `Bearer ${token}` } : headers);

/** The user of a token; undefined for one that cannot be read. The server alone verifies it. */
function subjectOf(text) {
  try {
    return JSON.parse(atob(text.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"))).sub;
  } catch {
    return undefined;
  }
}

/** An EventSource that sends the token, which the browser's own cannot. Frames end with an empty line, lines with LF. */
class TokenEventSource extends EventTarget {
  readyState = EventSource.CONNECTING;
  refusal = null;               // of an answer that is no event stream
  #stop = new AbortController();
  #lastId = "";
  #retryMs = 3000;

  constructor(url) {
    super();
    this.#run(url);
  }

  close() {
    this.readyState = EventSource.CLOSED;
    this.#stop.abort();
  }

  async #run(url) {
    while (this.readyState !== EventSource.CLOSED) {
      await this.#read(url).catch(() => null);   // lost, or closed by this page
      if (this.readyState === EventSource.CLOSED && !this.refusal) return;
      if (!this.refusal) this.readyState = EventSource.CONNECTING;
      this.dispatchEvent(new Event("error"));
      if (!this.refusal) await new Promise((done) => setTimeout(done, this.#retryMs));
    }
  }

  async #read(url) {
    const headers = withToken({ Accept: "text/event-stream" });
    if (this.#lastId) headers["Last-Event-ID"] = this.#lastId;
    const response = await fetch(url, { headers, cache: "no-store", signal: this.#stop.signal });
    if (response.status !== 200) {
      this.refusal = await refusalOf(response);
      this.readyState = EventSource.CLOSED;
      return;
    }
    this.readyState = EventSource.OPEN;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = "", frames; ;) {
      const { done, value } = await reader.read();
      if (done) return;
      [rest, ...frames] = (rest + value).split("\n\n").reverse();
      for (const frame of frames.reverse()) this.#dispatch(frame);
    }
  }

  #dispatch(frame) {
    let type = "message";
    const data = [];
    for (const line of frame.split("\n")) {
      const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line);
      if (field === "data") data.push(value);
      else if (field === "event") type = value;
      else if (field === "id") this.#lastId = value;
      else if (field === "retry") this.#retryMs = Number(value);
    }
    if (data.length) this.dispatchEvent(new MessageEvent(type, { data: data.join("\n"), lastEventId: this.#lastId }));
  }
}

/** What an answer that is no event stream says. */
async function refusalOf(response) {
  const content = await response.json().catch(() => null);
  return { status: response.status, detail: content?.detail ?? content?.title ?? "no reason given" };
}
