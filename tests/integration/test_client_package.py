"""What a new user does with the npm package: install it into an empty project, follow README."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from bench.harness import ROOT, NodeProcess, RedisProcess, accepts, free_port
from tests.support.nodes import wait_until
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

    from tests.support.browsers import Profile

pytestmark = [pytest.mark.integration, pytest.mark.browser]

CLIENT = ROOT / "client"
README = (CLIENT / "README.md").read_text("utf-8")

# Packages that a project has beside ours; they are not installed twice.
OF_THE_PROJECT = ("react", "react-dom", "vue", "svelte", "@types")


def examples(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def run(*command: str | Path, folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project(client_package: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty project with the packed package and the examples of its README."""
    folder = tmp_path_factory.mktemp("project")
    # Packing builds again, for which it removes `dist`, and other tests read that.
    client = tmp_path_factory.mktemp("copy") / "client"
    shutil.copytree(CLIENT, client, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (client / "node_modules").symlink_to(CLIENT / "node_modules")
    packed = json.loads(run("npm", "pack", "--json", "--pack-destination", folder, folder=client))
    (folder / "package.json").write_text('{"name": "project", "private": true, "type": "module"}')
    archive = f"./{packed[0]['filename']}"
    run(
        "npm",
        "install",
        "--silent",
        "--prefer-offline",
        "--legacy-peer-deps",
        archive,
        folder=folder,
    )
    for name in OF_THE_PROJECT:
        (folder / "node_modules" / name).symlink_to(CLIENT / "node_modules" / name)
    source = folder / "src"
    source.mkdir()
    for number, text in enumerate(examples("tsx")):
        (source / f"react{number}.tsx").write_text(text)
    for number, text in enumerate(examples("ts")):
        named = re.match(r"// (\S+)\n", text)
        (source / (named[1] if named else f"example{number}.ts")).write_text(
            text if "import" in text else f"import {{}} from '@sse-node/client';\n{text}"
        )
    (source / "App.vue").write_text(examples("vue")[0])
    (source / "App.svelte").write_text(examples("svelte")[0])
    return folder


@pytest.mark.parametrize("resolution", ["bundler", "nodenext"])
def test_readme_is_valid_typescript(project: Path, resolution: str) -> None:
    options = {
        "strict": True,
        "noEmit": True,
        "target": "es2022",
        "module": "nodenext" if resolution == "nodenext" else "esnext",
        "moduleResolution": resolution,
        "jsx": "react-jsx",
        "lib": ["es2022", "dom"],
        "types": ["react"],
    }
    suffix = {"bundler": "", "nodenext": ".js"}[resolution]
    (project / "src/types.ts").write_text(
        f"""import {{ useEvents }} from "./useEvents{suffix}";
import {{ useEvents as useReactEvents }} from "@sse-node/client/react";
useEvents(["a"], (eventType: string) => eventType);
export function Component() {{
  useReactEvents(["snapshots.generated"], (eventType, data, event) => {{
    const type: "snapshots.generated" = eventType;
    const [count, id]: [number, string] = [data.snapshotCount, event.id];
    // @ts-expect-error  a number is not a text
    const wrong: string = data.snapshotCount;
    return [type, count, id, wrong];
  }});
  useReactEvents("order.paid", (_, data) => data.order.toFixed());
  useReactEvents(["any.other", "type"], (eventType, data) => data.whatever + eventType);
}}
"""
    )
    (project / "tsconfig.json").write_text(
        json.dumps({"compilerOptions": options, "include": ["src"]})
    )
    run(CLIENT / "node_modules/.bin/tsc", "-p", project, folder=project)


ENTRY = """
import { connect } from "@sse-node/client";
import { connect as connectOverFetch } from "@sse-node/client/fetch";
import { useEvents } from "@sse-node/client/react";
globalThis.bundled = [connect, connectOverFetch, useEvents].map((f) => typeof f).join();
"""


BUNDLERS = {
    "vite": """
      import { build } from %(vite)s;
      await build({ root: %(project)s, logLevel: "error", configFile: false,
        define: { "process.env.NODE_ENV": '"production"' },
        build: { outDir: %(output)s, lib: { entry: "src/entry.js", formats: ["iife"], name: "x",
          fileName: () => "bundle.js" } } });
    """,
    "webpack": """
      import webpack from %(webpack)s;
      const stats = await new Promise((resolve, reject) => webpack({ mode: "production",
        context: %(project)s, entry: "./src/entry.js",
        output: { path: %(output)s, filename: "bundle.js" } },
        (error, stats) => (error ? reject(error) : resolve(stats))));
      if (stats.hasErrors() || stats.hasWarnings()) throw new Error(stats.toString());
    """,
}


def build_script(project: Path, script: str, output: str) -> str:
    """Run a script that bundles into `dist` of the project; return the bundle."""
    values = {
        "project": project,
        "output": project / "dist" / output,
        "vite": CLIENT / "node_modules/vite/dist/node/index.js",
        "webpack": CLIENT / "node_modules/webpack/lib/index.js",
        "vue": CLIENT / "node_modules/@vitejs/plugin-vue/dist/index.mjs",
        "svelte": CLIENT / "node_modules/@sveltejs/vite-plugin-svelte/src/index.js",
    }
    quoted = {name: json.dumps(str(value)) for name, value in values.items()}
    run("node", "--input-type=module", "--eval", script % quoted, folder=project)
    return (project / "dist" / output / "bundle.js").read_text("utf-8") + ";undefined"


@pytest.mark.parametrize("bundler", BUNDLERS)
def test_bundlers_take_it(project: Path, chromium: Profile, bundler: str) -> None:
    (project / "src/entry.js").write_text(ENTRY)
    tab = chromium.new_tab()
    tab.goto("about:blank")
    tab.evaluate(build_script(project, BUNDLERS[bundler], bundler))
    assert tab.evaluate("bundled") == "function,function,function"


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and says nothing about it."""

    def log_message(self, format: str, *arguments: object) -> None:
        """Be quiet."""


@pytest.fixture
def site(project: Path) -> Iterator[str]:
    """The project's folder on a web server of its own origin."""
    handler = functools.partial(Quiet, directory=str(project))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def own_node(redis: RedisProcess, site: str) -> Iterator[NodeProcess]:
    """A node that the site's pages may use."""
    flags = ("--cors-origin", site, "--ping-interval", "1", "--retry", "200")
    with NodeProcess("--redis-url", redis.url, *flags) as process:
        process.wait_ready()
        yield process


def publish(http: httpx.Client, user: str, count: int) -> None:
    event = {"userId": user, "eventType": "snapshots.generated", "data": {"snapshotCount": count}}
    http.post("/events", json=event).raise_for_status()


def test_plain_page(
    project: Path, profile: Profile, site: str, own_node: NodeProcess, http: httpx.Client, user: str
) -> None:
    page = (ROOT / "examples/plain.html").read_text("utf-8")
    assert len(page.splitlines()) == 10
    (project / "plain.html").write_text(page)
    tab = profile.new_tab()
    tab.goto(f"{site}/plain.html?url={own_node.url}/events/sse/{user}")

    def shown() -> list[str]:
        texts: list[str] = tab.evaluate(
            "[...document.querySelectorAll('li')].map((e) => e.textContent)"
        )
        return texts

    wait_until(lambda: shown() == ["connecting", "open"], "it is open")
    publish(http, user, 7)
    wait_until(lambda: len(shown()) == 3, "an event")
    assert json.loads(shown()[2]) == {"eventType": "snapshots.generated", "snapshotCount": 7}
    own_node.kill()
    publish(http, user, 8)
    own_node.start()
    wait_until(lambda: any('"snapshotCount":8' in text for text in shown()), "what was missed")


FRAMEWORKS = {
    "react0.tsx": """
      import { createRoot } from "react-dom/client";
      import { createElement } from "react";
      import { Snapshots } from "./react0.tsx";
      createRoot(document.body).render(createElement(Snapshots));
    """,
    "App.vue": """
      import { createApp } from "vue";
      import App from "./App.vue";
      createApp(App).mount(document.body);
    """,
    "App.svelte": """
      import { mount } from "svelte";
      import App from "./App.svelte";
      mount(App, { target: document.body });
    """,
}


# Does what a rewrite of /api does in front of a node.
REWRITE = """(stream) => {
  const Native = EventSource;
  globalThis.EventSource = class extends Native {
    constructor(url, init) {
      if (new URL(url).pathname !== "/api/events/sse") throw new Error(url);
      super(stream, init);
      this.addEventListener("sse.open", () => (globalThis.isOpen = true));
    }
  };
  document.body.textContent = "";
}"""

BUILD_COMPONENT = """
  import { build } from %(vite)s;
  import vue from %(vue)s;
  import { svelte } from %(svelte)s;
  await build({ root: %(project)s, configFile: false, logLevel: "error",
    plugins: [vue(), svelte({ configFile: false })],
    define: { "process.env.NODE_ENV": '"production"' },
    build: { outDir: %(output)s, lib: { entry: "src/mount.js", formats: ["iife"], name: "x",
      fileName: () => "bundle.js" } } });
"""


@pytest.mark.parametrize("component", FRAMEWORKS)
def test_component_of_readme_shows_events(
    project: Path,
    chromium: Profile,
    own_node: NodeProcess,
    http: httpx.Client,
    user: str,
    component: str,
) -> None:
    (project / "src/mount.js").write_text(FRAMEWORKS[component])
    script = build_script(project, BUILD_COMPONENT, component)
    tab = chromium.new_tab()
    tab.goto(f"{own_node.url}/health/live")
    tab.evaluate(REWRITE, f"{own_node.url}/events/sse/{user}")
    tab.evaluate(script)
    wait_until(lambda: tab.evaluate("globalThis.isOpen") is True, "it is open")
    publish(http, user, 42)
    wait_until(lambda: "42 snapshots" in tab.evaluate("document.body.textContent"), "the event")


def test_readme_names_every_option() -> None:
    types = (CLIENT / "src/types.ts").read_text("utf-8")
    for interface in ("ConnectOptions", "FetchOptions"):
        body = types.partition(f"interface {interface} {{")[2].partition("\n}")[0]
        options = re.findall(r"^  (\w+)\?", body, re.MULTILINE)
        assert options
        table = README.partition("## Options")[2].partition("## What it does")[0]
        undocumented = {name for name in options if not re.search(rf"`{name}\b", table)}
        assert undocumented <= {"transport"}  # for those who write one


def test_vite_passes_streams_on(node: NodeProcess, http: httpx.Client, tmp_path: Path) -> None:
    (example,) = (text for text in examples("js") if "defineConfig" in text)
    (tmp_path / "vite.config.js").write_text(example.replace("http://localhost:3000", node.url))
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "node_modules").symlink_to(CLIENT / "node_modules")
    port = free_port()
    words = ["node_modules/.bin/vite", "--port", str(port), "--strictPort", "--host", "127.0.0.1"]
    with subprocess.Popen(words, cwd=tmp_path) as vite:
        try:
            wait_until(lambda: accepts("127.0.0.1", port), "vite listens")
            with StreamClient(f"http://127.0.0.1:{port}", "/api/events/sse/vite-user") as stream:
                stream.wait_open()
                event = {"userId": "vite-user", "eventType": "passed", "data": {}}
                http.post("/events", json=event).raise_for_status()
                stream.wait_for_type("passed")
        finally:
            vite.terminate()
