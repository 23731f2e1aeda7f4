// The stream.

let user = "";
let source = null;
let phase = "";                 // connecting, open, reconnecting, cut, closed
let phaseSince = now();
let gapSince = 0;               // when the stream was last open
let reopenTimer = 0;
let reopenDelay = 1000;
let lastId = "";                // the stream's position
let begin = "";                 // the parameter with which a new stream begins in the past
let replayLeft = 0;
let isReplay = false;           // the visitor asked for past events; none was missed
let resetJustNow = false;       // this connection began with sse.reset; its sse.open must not hide that
let delivering = "–";
let reconnectCount = 0;
let lastPing = 0;
let leastLag = Infinity;        // of everything in which the server told its time
let defaultUser = "123";        // until an account names another
// Every event is a "message", unless the server runs with --event-names: then each has its own name.
const eventNames = new Set(["message", "system.notice", ...Object.keys(KINDS)]);

function setPhase(name, note) {
  if (phase !== name) {
    if (phase === "open") gapSince = now();
    phase = name;
    phaseSince = now();
    stretches.push({ from: phaseSince, open: name === "open" });
    $("state").className = `state ${{ open: "made", closed: "gone" }[name] ?? "money"}`;
    $("word").textContent = name[0].toUpperCase() + name.slice(1);
    $("cut").textContent = name === "cut" || name === "closed" ? "Open the stream" : "Cut the stream";
  }
  $("note").textContent = note;
  tick();
}

function connect() {
  const path = user ? `/events/sse/${encodeURIComponent(user)}` : "/events/sse";
  const parameters = [];
  if (rooms.size) parameters.push(`channels=${[...rooms].map(encodeURIComponent).join()}`);
  const start = lastId ? `lastEventId=${encodeURIComponent(lastId)}` : begin;
  if (start) parameters.push(start);
  const url = parameters.length ? `${path}?${parameters.join("&")}` : path;
  noteRequest("GET", url)("event stream");
  source = token ? new TokenEventSource(url) : new EventSource(url);
  source.addEventListener("sse.open", onOpen);
  source.addEventListener("sse.reset", onReset);
  source.addEventListener("ping", onPing);
  source.addEventListener("sse.closed", onClosed);
  source.addEventListener("error", onLost);
  for (const name of eventNames) source.addEventListener(name, onEvent);
}

/** Listens to another type of event. */
function hear(name) {
  if (eventNames.has(name)) return;
  eventNames.add(name);
  source.addEventListener(name, onEvent);
}

/** The stream goes on: says how, and ends the gap, if there was one, with a line on the paper. */
function goOn(how) {
  if (phase === "reconnecting") {
    const gap = span(now() - gapSince);
    reconnectCount += 1;
    figure("reconnects", reconnectCount.toLocaleString(), `last gap ${gap}`);
    enqueue({ seam: `No connection for ${gap}. ${how}` });
  }
  reopenDelay = 1000;
  setPhase("open", how);
  loadAccounts();
}

function onOpen(event) {
  const { serverId, resumed, replayed } = JSON.parse(event.data);
  lastId = event.lastEventId || lastId;
  delivering = serverId;
  figure("delivered", serverId, `since ${new Date().toLocaleTimeString([], { timeStyle: "short" })}`);
  if (!resetJustNow) {
    replayLeft = replayed;
    const resumption = `Resumed on ${serverId}: ${plural(replayed, "missed event")} replayed.`;
    const past = replayed ? `, after ${plural(replayed, "past event")}` : "";
    const lost = phase === "reconnecting" ? ", without what was missed" : "";
    goOn(resumed && !isReplay ? resumption : `Live from ${serverId}${isReplay ? past : lost}.`);
    isReplay = false;
  }
  resetJustNow = false;
}

function onReset(event) {
  const what = `Reset (${JSON.parse(event.data).reason}): events may be missing here, so the accounts are read again.`;
  lastId = event.lastEventId || lastId;
  replayLeft = 0;
  isReplay = false;
  resetJustNow = phase !== "open";
  if (phase !== "reconnecting") enqueue({ seam: what });
  goOn(what);
}

function onPing(event) {
  lastPing = now();
  noticeClock(Date.now() - JSON.parse(event.data).timestamp);
  mark("ping");
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (!calm) $("beat").animate({ transform: ["scale(2)", "scale(1)"], opacity: [.3, 1] }, 700);
  tick();
}

/** The server ends the stream for good, and says why. */
function onClosed(event) {
  const { reason } = JSON.parse(event.data);
  const text = CLOSE_REASONS[reason] ?? `The server has closed the stream: ${reason}.`;
  source.close();
  enqueue({ seam: text });
  setPhase("closed", text);
}

async function onLost({ target }) {
  if (target !== source) return;
  resetJustNow = false;
  if (phase === "open") setPhase("reconnecting", "The connection was lost; the browser tries again by itself.");
  if (source.readyState !== EventSource.CLOSED) return;
  // The browser has given up, as it does on any answer that is no event stream, and tells nobody which.
  const refusal = source.refusal ?? await askForRefusal(source.url);
  if (target !== source) return;
  if (refusal && refusal.status >= 400 && refusal.status < 500) {
    const help = refusal.status === 401 ? " Type a token that is valid, then Show." : "";
    setPhase("closed", `The server refuses this stream (${refusal.status}): ${refusal.detail}.${help}`);
    return;
  }
  const delay = reopenDelay * (0.5 + Math.random());
  reopenDelay = Math.min(reopenDelay * 2, 15000);
  setPhase(phase, `The browser gave up; the next try is in ${span(delay)}.`);
  reopenTimer = setTimeout(connect, delay);
}

/** Asks for a stream once more, and returns how it is refused; null when it is not, or there is no answer. */
async function askForRefusal(url) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), 5000);
  const response = await fetch(url, { cache: "no-store", signal: stop.signal }).catch(() => null);
  const refusal = response && !response.ok ? await refusalOf(response) : null;
  clearTimeout(timer);
  stop.abort();
  return refusal;
}

/** Opens the stream again where it ended, after it has been closed. */
function continueStream() {
  setPhase("reconnecting", "Waiting for the stream to open.");
  connect();
}

/** Opens another stream in place of this one, which goes on where this one is. */
function reopen() {
  stopStream();
  if (phase === "open") connect();
  else continueStream();
}

function stopStream() {
  source?.close();
  clearTimeout(reopenTimer);
}

/** Cuts the stream as a lost network does, or opens it where it was cut. */
function cutOrOpen() {
  if (phase === "cut" || phase === "closed") {
    continueStream();
    return;
  }
  stopStream();
  resetJustNow = false;
  setPhase("cut", "Cut here. What is published now is replayed when you open the stream again.");
}

/** Begins a stream in the past: after an id, or without one with the last events. */
function replay(id) {
  isReplay = true;
  startStream(user, id ? `since=${encodeURIComponent(id)}` : `replay=${REPLAYED}`);
}

/** How far the two clocks are apart shows in the least time that anything took. */
function noticeClock(lag) {
  if (lag >= leastLag) return;
  leastLag = lag;
  const side = lag < -2 ? "behind" : lag > SLACK_MS ? "ahead of" : "";
  warn("skew", side && `This device’s clock is about ${span(Math.abs(lag))} ${side} the server’s: `
    + "times from publish are off by as much, times from click are not.");
}

function keepAddress() {
  const parameters = new URLSearchParams();
  if (user) parameters.set("user", user);
  if (rooms.size) parameters.set("channels", [...rooms].join());
  history.replaceState(null, "", parameters.size ? `?${parameters}` : location.pathname);
}

/** Shows a user's stream from its beginning, which may be in the past. */
function startStream(name, parameter = "") {
  stopStream();
  user = $("user").value = name;
  begin = parameter;
  lastId = "";
  replayLeft = reconnectCount = eventCount = skipped = announced.count = lastPing = queue.length = 0;
  leastLag = Infinity;
  gapSince = now();
  reopenDelay = 1000;
  accountsAfter = 0;
  for (const store of [known, clicks, accountRows]) store.clear();
  $("events").replaceChildren(make("li", "empty", "Nothing yet. Create an account, and its events land here."));
  $("accounts").replaceChildren();
  $("skew").hidden = $("more").hidden = $("skipped").hidden = true;
  for (const id of ["answered", "delivered", "arrival"]) figure(id, "–");
  for (const id of ["events-count", "reconnects"]) figure(id, "0");
  latestType = "";
  phase = "";
  keepAddress();
  setPhase("connecting", "Waiting for the stream to open.");
  connect();
}

function onUserForm() {
  const before = subjectOf(token);
  keepToken($("token").value);
  loadNodes();
  const isSame = $("user").value === user && before !== undefined && before === subjectOf(token);
  if ((phase === "closed" || phase === "cut") && isSame) continueStream();
  else startStream($("user").value);
  suggestReceiver();
}

function startControls() {
  onSubmit($("user-form"), "skew", async () => onUserForm());
  onSubmit($("replay-form"), "skew", async () => replay($("since").value));
  $("cut").addEventListener("click", cutOrOpen);
  $("more").addEventListener("click", () => {
    $("more").textContent = $("events").classList.toggle("all") ? "Show fewer" : "Show all";
  });
}
