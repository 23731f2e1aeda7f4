import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

import { build } from "esbuild";
import { expect, it } from "vitest";

const root = fileURLToPath(new URL("..", import.meta.url));
const { exports, dependencies } = JSON.parse(readFileSync(`${root}/package.json`, "utf8"));

async function bundle(entry: string, external: string[] = []) {
  const result = await build({
    entryPoints: [`${root}/src/${entry}.ts`],
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    write: false,
    external,
    metafile: true,
  });
  return { text: result.outputFiles[0]!.text, inputs: Object.keys(result.metafile.inputs) };
}

it("the core is at most 3 KB gzipped, and has no dependency", async () => {
  const { text, inputs } = await bundle("index");
  expect(gzipSync(text, { level: 9 }).length).toBeLessThanOrEqual(3 * 1024);
  expect(inputs.filter((input) => input.includes("node_modules"))).toEqual([]);
  expect(text).not.toContain("import");
});

it("the hooks add less than 1.5 KB, without React", async () => {
  const { text } = await bundle("react", ["react"]);
  const core = await bundle("index");
  const added = gzipSync(text, { level: 9 }).length - gzipSync(core.text, { level: 9 }).length;
  expect(added).toBeLessThanOrEqual(1536);
});

it("fetch brings its parser and nothing else", async () => {
  const { inputs } = await bundle("fetch");
  const packages = inputs.map((input) => /node_modules\/([^/]+)/.exec(input)?.[1]).filter(Boolean);
  expect([...new Set(packages)]).toEqual(["eventsource-parser"]);
  expect(Object.keys(dependencies)).toEqual(["eventsource-parser"]);
});

it("each entry has a source with its name", () => {
  const sources = readdirSync(`${root}/src`);
  for (const path of Object.values<string>(exports)) {
    expect(sources).toContain(path.replace("./dist/", "").replace(".js", ".ts"));
  }
});

it("the lock file has no registry's address", () => {
  const lock = readFileSync(`${root}/package-lock.json`, "utf8");
  expect(lock).not.toMatch(/"resolved"/);
});
