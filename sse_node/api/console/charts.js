// The strip, the charts and the clocks.

const marks = [];               // {at, kind}, oldest first
const lastMarks = new Map();    // kind -> when
const LAGS_KEPT = 200;          // of each second
const seconds = [];             // {second, count, lags}, oldest first
let chartedSecond = -1;
const stretches = [];           // {from, open}, oldest first
let announced = { count: 0, at: 0 };

function mark(kind) {
  const at = now();
  if (at - lastMarks.get(kind) < STRIP_MS / 600) return;   // it would be drawn over the last one
  lastMarks.set(kind, at);
  marks.push({ at, kind });
}

/** Counts an event, and notes how old it was: those of a replay are not late. */
function measure({ lag, replayed }) {
  const second = Math.floor(now() / 1000);
  if (seconds.at(-1)?.second !== second) seconds.push({ second, count: 0, lags: [] });
  const latest = seconds.at(-1);
  latest.count += 1;
  if (lag !== undefined && !replayed && latest.lags.length < LAGS_KEPT) latest.lags.push(Math.max(0, lag));
}

const middle = (lags) => lags.sort((a, b) => a - b)[lags.length >> 1];

/** Draws one bar for each second with a value, and says the newest whole second and the most. */
function drawChart(id, valueOf, tone, format) {
  const canvas = $(id);
  const { clientWidth: width, clientHeight: height } = canvas;
  const pen = blank(canvas, width, height);
  const current = Math.floor(now() / 1000);
  const values = seconds.map((each) => [each.second, valueOf(each)]).filter(([, value]) => value !== undefined);
  const most = Math.max(...values.map(([, value]) => value));
  const step = width / (STRIP_MS / 1000);
  pen.fillStyle = getComputedStyle(canvas).getPropertyValue(`--${tone}`);
  for (const [second, value] of values) {
    const bar = Math.max(2, value / most * (height - 2));
    pen.fillRect(width - (current - second + 1) * step, height - bar, Math.max(1, step - 1), bar);
  }
  const last = values.findLast(([second]) => second < current && second >= current - 2)?.[1];
  $(`${id}-now`).textContent = values.length ? `${last === undefined ? "–" : format(last)}, most ${format(most)}` : "–";
}

function drawCharts() {
  chartedSecond = Math.floor(now() / 1000);
  const oldest = now() / 1000 - STRIP_MS / 1000;
  while (seconds[0]?.second < oldest) seconds.shift();
  drawChart("rate", ({ count }) => count, "deep", (count) => `${count.toLocaleString()} / s`);
  drawChart("latency", ({ lags }) => middle(lags), "moved", span);
}

/** Returns the pen of an emptied canvas, in CSS pixels. */
function blank(canvas, width, height) {
  canvas.width = width * devicePixelRatio;   // which also clears it
  canvas.height = height * devicePixelRatio;
  const pen = canvas.getContext("2d");
  pen.scale(devicePixelRatio, devicePixelRatio);
  return pen;
}

function drawStrip() {
  const canvas = $("strip");
  const { clientWidth: width, clientHeight: height } = canvas;
  const pen = blank(canvas, width, height);
  pen.lineCap = pen.lineJoin = "round";
  const style = getComputedStyle(canvas);
  const start = now() - STRIP_MS;
  const x = (at) => Math.max(0, (at - start) / STRIP_MS * width);
  const base = height - 16;
  const line = (tone, thick, dash, ...points) => {
    pen.beginPath();
    pen.strokeStyle = style.getPropertyValue(`--${tone}`);
    pen.lineWidth = thick;
    pen.setLineDash(dash);
    points.forEach(([px, py]) => pen.lineTo(px, py));
    pen.stroke();
  };
  while (stretches[1]?.from < start) stretches.shift();
  while (marks[0]?.at < start) marks.shift();
  line("line", 1, [], [0, base], [width, base]);
  for (let i = 0; i <= 6; i++) line("edge", 1, [], [i * width / 6, base + 9], [i * width / 6, base + 14]);
  stretches.forEach(({ from, open }, i) => {
    line(open ? "deep" : "money", 2, open ? [] : [1, 6], [x(from), base], [x(stretches[i + 1]?.from ?? now()), base]);
  });
  for (const { at, kind } of marks) {
    const px = x(at);
    if (kind === "ping") line("deep", 2, [], [px - 4, base], [px - 1.5, base - 9], [px + 1.5, base + 5], [px + 4, base]);
    else line(kind === "other" ? "quiet" : kind, 3, [], [px, base], [px, 4]);
  }
}

function tick() {
  if (document.hidden) return;
  const age = now() - phaseSince;
  const silence = now() - lastPing;
  $("clock").textContent = age < 60000 ? `${(age / 1000).toFixed(phase === "open" ? 0 : 1)} s` : span(age);
  $("ping").textContent = lastPing ? `${silence < 60000 ? `${Math.floor(silence / 1000)} s` : span(silence)} ago` : "–";
  $("pulse").classList.toggle("late", phase !== "open" || (lastPing && silence > LATE_MS));
  drawStrip();
  if (Math.floor(now() / 1000) !== chartedSecond) drawCharts();
  // A screen reader is told once in ANNOUNCE_MS at most, so that a burst stays one sentence.
  if (eventCount === announced.count || now() - announced.at < ANNOUNCE_MS) return;
  announced = { count: eventCount, at: now() };
  $("announce").textContent = `${latestType} arrived; ${plural(eventCount, "event")} so far.`;
}
