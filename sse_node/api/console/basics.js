"use strict";
// What all parts use.

const ROWS_KEPT = 100;          // so that a flood of events cannot fill the tab's memory
const ACCOUNTS_SHOWN = 20;      // the newest
const ACCOUNTS_READ = 500;      // in one request
const SHOWN_CHARS = 1200;       // of one event's JSON, which may have 256 KiB
const REPLAYED = 50;            // events, when the visitor names no id
const ROWS_AT_ONCE = 8;         // arbitrary: 160 rows a second are more than anybody reads
const PAINT_EVERY_MS = 50;
const FLOOD_EVERY_MS = 250;     // while more comes than this: to paint costs more than to count
const STRIP_MS = 90000;         // six pings at the usual 15 s
const LATE_MS = 45000;          // three pings missed
const ANNOUNCE_MS = 2000;
const SLACK_MS = 1000;          // when everything takes longer than this, it is the clocks, not the way
const CLICK_LIFE_MS = 60000;    // an event later than this after a click is not that click's
const KINDS = {
  "account.created": "made", "account.updated": "moved", "balance.changed": "money",
  "account.deleted": "gone", "snapshots.generated": "kept",
};
const CLOSE_REASONS = {
  "token-expired": "The token has expired. Type a new one, then Show: the stream goes on where it ended.",
  revoked: "The access has been revoked.",
  replaced: "A newer stream of this user has taken the place of this one.",
};
const $ = (id) => document.getElementById(id);
const now = () => performance.now();
const plural = (count, word) => `${count.toLocaleString()} ${word}${count === 1 ? "" : "s"}`;

function make(tag, className, ...content) {
  const node = document.createElement(tag);
  node.className = className;
  node.append(...content);
  return node;
}

function span(ms) {
  if (ms < 10) return `${Math.round(ms * 10) / 10} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60000) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60000);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Sets a figure of the panel: its value, and the small line under it. */
function figure(id, value, small = "") {
  $(id).firstChild.data = value;
  $(id).lastElementChild.textContent = small;
}

function warn(id, text) {
  $(id).textContent = text;
  $(id).hidden = !text;
}
