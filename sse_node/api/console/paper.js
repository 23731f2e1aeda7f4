// Events, and the clicks they come from.

const queue = [];               // what is to be painted
const known = new Map();        // key -> the newest event with it
const clicks = new Map();       // key -> the answered click whose event has not arrived yet
const timeOfDay = new Intl.DateTimeFormat([], { timeStyle: "medium" });
let eventCount = 0;
let skipped = 0;                // events that came faster than they could be drawn
let paintTimer = 0;
let serial = 0;
let latestType = "";

function onEvent(event) {
  const data = JSON.parse(event.data);
  const record = { type: data.eventType, raw: event.data, at: now(), clock: new Date(), node: delivering, serial: serial++ };
  record.id = event.lastEventId === lastId ? "" : event.lastEventId;   // without one, the last event's is still there
  lastId = event.lastEventId;
  record.replayed = replayLeft > 0;
  if (record.replayed) replayLeft -= 1;
  if (record.id) record.lag = record.clock - parseInt(record.id, 10);
  if (record.id && !record.replayed) noticeClock(record.lag);
  if (record.type === "snapshots.generated") record.maker = data.serverId;
  for (const key of [record.id, `${record.type} ${data.accountId}`]) {
    known.set(key, record);
    const click = clicks.get(key);
    clicks.delete(key);
    if (click && record.at - click.at < CLICK_LIFE_MS) credit(record, click);
  }
  eventCount += 1;
  mark(KINDS[record.type] ?? "other");
  measure(record);
  enqueue(record);
  if (/^(account|balance)\./.test(record.type)) loadAccounts();
}

/** Ties an answered click to its events: the answer may come before them or after. */
function expect(click, keys) {
  for (const [key, { at }] of clicks) if (now() - at > CLICK_LIFE_MS) clicks.delete(key);
  for (const key of keys) {
    const record = known.get(key);
    if (record && record.at >= click.at) credit(record, click);
    else clicks.set(key, click);
  }
}

function credit(record, click) {
  record.click = click;
  figure("arrival", span(record.at - click.at), record.type);
  if (record.row) fillRow(record);
}

function enqueue(record) {
  if (queue.push(record) > ROWS_KEPT) {
    queue.shift();
    skipped += 1;
  }
  requestPaint(0);
}

function requestPaint(delay) {
  if (paintTimer) return;
  paintTimer = setTimeout(() => requestAnimationFrame(paint), delay);
}

/** Paints a few rows of what has come. The rest waits, so that the page answers its visitor meanwhile. */
function paint() {
  const paper = $("events");
  paper.querySelector(".empty")?.remove();
  const rows = queue.splice(0, ROWS_AT_ONCE).map(makeRow).reverse();
  if (rows.length === 1) rows[0].classList.add("arriving");
  paper.prepend(...rows);
  while (paper.children.length > ROWS_KEPT) paper.lastChild.remove();
  for (const [key, record] of known) if (record.serial < serial - ROWS_KEPT) known.delete(key);
  $("more").hidden = paper.children.length <= 6;
  figure("events-count", eventCount.toLocaleString(), latestType);
  warn("skipped", skipped ? `${plural(skipped, "event")} came faster than this page draws rows. All are counted.` : "");
  paintTimer = 0;
  if (queue.length) requestPaint(queue.length < ROWS_KEPT ? PAINT_EVERY_MS : FLOOD_EVERY_MS);
}

function makeRow(record) {
  record.row = make("li", record.seam ? "seam" : `event ${KINDS[record.type] ?? "other"}`, record.seam ?? "");
  if (!record.seam) fillRow(record);
  record.row.classList.toggle("odd", record.serial % 2 === 1);
  latestType = record.type ?? latestType;
  return record.row;
}

function fillRow({ row, type, replayed, at, click, id, lag, maker, node, clock, raw }) {
  const times = make("p", "");
  if (click) times.append(make("strong", "", span(at - click.at)), " from click ");
  if (id) times.append(make("strong", "", span(Math.max(0, lag))), " from publish");
  const servers = [click && `answered by ${click.server}`, maker && `made by ${maker}`, `delivered by ${node}`];
  const what = make("div", "", make("b", "", type), replayed ? make("i", "", "replayed") : "", times,
    make("p", "", servers.filter(Boolean).join(", ")),
    make("p", "", `${timeOfDay.format(clock)} · ${id || "no id, live only"}`));
  row.replaceChildren(what, pretty(raw));
}

/** The event's own characters, with each member of the outermost object on a line of its own. */
function pretty(raw) {
  const out = make("pre", "");
  let depth = 0;
  let line = out.appendChild(make("div", ""));
  const breakLine = () => (line = out.appendChild(make("div", "")));
  for (const [token, key, text] of raw.slice(0, SHOWN_CHARS)
    .matchAll(/("(?:[^"\\]|\\.)*")\s*:|("(?:[^"\\]|\\.)*")|[{}[\],]|[^\s{}[\],"]+|"/g)) {
    const opens = "{[".includes(token);
    if ("}]".includes(token) && (depth -= 1) === 0) breakLine();
    if (key) line.append(make("span", "key", key), ": ");
    else if (text) line.append(make("span", "text", text));
    else if (opens || "}],".includes(token)) line.append(token, token === "," && depth > 1 ? " " : "");
    else line.append(make("span", "plain", token));
    if (opens) depth += 1;
    if (depth === 1 && (opens || token === ",")) breakLine();
  }
  if (raw.length > SHOWN_CHARS) breakLine().append(`… and ${plural(raw.length - SHOWN_CHARS, "more character")}`);
  return out;
}
