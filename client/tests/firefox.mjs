// Drives Debian's Firefox for the Python tests: a JSON object a line in, one a line out.
// node firefox.mjs PATH_OF_FIREFOX
import { createInterface } from "node:readline";

import { launch } from "puppeteer-core";

const browser = await launch({
  browser: "firefox",
  executablePath: process.argv[2],
  headless: true,
  // The tests' servers are on loopback, and so is nothing else.
  extraPrefsFirefox: { "network.proxy.type": 0, "app.update.enabled": false },
});
const pages = new Map();

const commands = {
  async open(tab, { context }) {
    const owner = contexts.get(context) ?? (await browser.createBrowserContext());
    contexts.set(context, owner);
    pages.set(tab, await owner.newPage());
  },
  goto: (tab, { url }) => pages.get(tab).goto(url).then(() => null),
  evaluate: (tab, { expression }) => pages.get(tab).evaluate(expression),
  async close(tab) {
    await pages.get(tab).close();
    pages.delete(tab);
  },
};
const contexts = new Map();
const print = (answer) => process.stdout.write(JSON.stringify(answer) + "\n");

print({ pid: browser.process().pid });
for await (const line of createInterface({ input: process.stdin })) {
  const { command, tab, ...rest } = JSON.parse(line);
  try {
    print({ value: (await commands[command](tab, rest)) ?? null });
  } catch (error) {
    print({ error: String(error) });
  }
}
await browser.close();
