// Drives Debian's Chromium or Firefox for the Python tests: a JSON object a line in, one a line out.
// node browsers.mjs chrome|firefox PATH
import { createInterface } from "node:readline";

import { launch } from "puppeteer-core";

const [name, executablePath] = process.argv.slice(2);
const browser = await launch({
  browser: name,
  executablePath,
  args: name === "chrome" ? ["--no-sandbox", "--disable-dev-shm-usage", "--js-flags=--expose-gc"] : [],
  extraPrefsFirefox: { "network.proxy.type": 0, "app.update.enabled": false },
});
const contexts = new Map();
const pages = new Map();

const commands = {
  async open(tab, { context }) {
    const owner = contexts.get(context) ?? (await browser.createBrowserContext());
    contexts.set(context, owner);
    pages.set(tab, await owner.newPage());
  },
  goto: (tab, { url }) => pages.get(tab).goto(url).then(() => null),
  evaluate: (tab, { expression }) => pages.get(tab).evaluate(expression),
  show: (tab) => pages.get(tab).bringToFront(),
  offline: (tab, { isOffline }) => pages.get(tab).setOfflineMode(isOffline),
  async lifecycle(tab, { state }) {
    const session = await pages.get(tab).createCDPSession();
    await session.send("Page.setWebLifecycleState", { state });
    await session.detach();
  },
  close: (tab) => pages.get(tab).close(),
  forget: (context) => contexts.get(context)?.close(),
};
const print = (answer) => process.stdout.write(JSON.stringify(answer) + "\n");

print({ pid: browser.process().pid });
for await (const line of createInterface({ input: process.stdin })) {
  const { command, of, ...rest } = JSON.parse(line);
  try {
    print({ value: (await commands[command](of, rest)) ?? null });
  } catch (error) {
    print({ error: String(error) });
  }
}
await browser.close();
