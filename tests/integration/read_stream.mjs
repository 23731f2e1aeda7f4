// Reads a stream with the npm package eventsource and prints what it is told, a JSON object a line.
// node read_stream.mjs URL NAME... listens to messages and to events with these names.
import { EventSource } from "eventsource";

const [url, ...names] = process.argv.slice(2);
const source = new EventSource(url);
const print = (line) => console.log(JSON.stringify(line));

for (const name of ["message", ...names]) {
  source.addEventListener(name, ({ type, data, lastEventId }) => print({ type, data, lastEventId }));
}
source.addEventListener("open", () => print({ type: "open" }));
source.addEventListener("error", () => print({ type: "error", readyState: source.readyState }));
