// Streams per node and worker, for callers who may observe.

const NODES_EVERY_MS = 2000;
const NODE_LIFE_MS = 30000;     // a node that has not answered for so long is left out
const nodes = new Map();        // serverId -> {status, at}
let nodesTimer = 0;

/** Asks for the status. Behind a proxy another node answers each time; each keeps its rows. */
async function loadNodes() {
  clearTimeout(nodesTimer);
  const asked = token;
  try {
    if (!document.hidden) {
      const { content } = await send("GET", "/status");
      nodes.set(content.serverId, { status: content, at: now() });
      showNodes();
    }
  } catch (error) {
    if (error.status < 500) {   // until there is another token
      nodes.clear();
      showNodes();
      const isForbidden = error.status === 401 || error.status === 403;
      $("nodes-note").textContent = isForbidden ? "Seen only by callers with the right observe." : "The proxy in front does not pass /status on.";
      if (asked === token) return;
    }
  }
  clearTimeout(nodesTimer);
  nodesTimer = setTimeout(loadNodes, NODES_EVERY_MS);
}

function showNodes() {
  const rows = [];
  for (const [serverId, { status, at }] of nodes) {
    if (now() - at > NODE_LIFE_MS) nodes.delete(serverId);
    else rows.push(nodeRow(serverId, "all", status), ...workersOf(status).map((worker) => nodeRow("", worker.pid, worker)));
  }
  const most = Math.max(1, ...rows.map(({ streams }) => streams));
  for (const { row, streams } of rows) row.children[2].style.setProperty("--share", `${streams / most * 100}%`);
  $("nodes").replaceChildren(...rows.map(({ row }) => row));
  $("nodes").parentElement.hidden = !rows.length;
  $("nodes-note").textContent = "";
}

/** The workers of a node that has more than one process. */
const workersOf = ({ workers = [] }) => (workers.length > 1 ? workers : []);

function nodeRow(serverId, worker, { activeStreams, connectedUsers, draining }) {
  const name = make("th", "", serverId, draining ? " (draining)" : "");
  name.scope = "row";
  const numbers = [String(worker), ...[activeStreams, connectedUsers].map((value) => value.toLocaleString())];
  return { row: make("tr", worker === "all" ? "" : "worker", serverId ? name : make("td", ""), ...numbers.map((text) => make("td", "", text))), streams: activeStreams };
}
