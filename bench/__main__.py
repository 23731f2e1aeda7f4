"""The command line: `python -m bench` lists the benchmarks, `python -m bench NAME` runs one."""

import functools
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, TextIO

import click
import msgspec
from rich.console import Console

from bench import compare
from bench.bridges import throughput as bridge
from bench.bridges import torture as bridge_chaos
from bench.chaos import report as chaos_report
from bench.chaos import runner as chaos
from bench.harness import ProcessError
from bench.measure import procfs as proc
from bench.options import Rounds, with_options
from bench.report import results
from bench.report import tables as report
from bench.targets import INSTALL, PEERS
from bench.targets.url import UrlPeer
from bench.workloads import (
    multi_node,
    no_subscriber,
    scale,
    slow_client,
    storm,
    webhooks,
    workers,
)
from bench.workloads.work import QUICK_SETTINGS, Settings, Work
from bench.workloads.works import WORKS


def _in_a_folder(
    context: click.Context, parameter: click.Parameter, path: Path | None
) -> Path | None:
    """Check that the file's folder exists, before the benchmark begins."""
    if path is not None and not path.parent.is_dir():
        raise click.BadParameter(f"there is no folder {str(path.parent)!r}", context, parameter)
    return path


def _file(flag: str, text: str, default: str | None = None) -> Callable[..., Any]:
    return click.option(
        flag,
        f"{flag[2:]}_path",
        default=default,
        show_default=default is not None,
        type=click.Path(dir_okay=False, writable=True, path_type=Path),
        callback=_in_a_folder,
        help=text,
    )


_json = _file("--json", "Write the result to this file as well.")


class _Turns(msgspec.Struct, frozen=True):
    """The number of rounds, for all servers."""

    rounds: Rounds = 3


@click.group(invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """Measure sse-node on this machine, on one core, with real processes."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
    signal.signal(signal.SIGTERM, _end)


# Workloads with a measurement of their own


def _add_benchmark(name: str, module: ModuleType, *, on_all_cores: bool = False) -> None:
    """Add a command for a workload with a measurement of its own."""

    @main.command(name, help=_summary_of(module))
    @with_options(module.Settings)
    @_json
    def command(json_path: Path | None, **values: Any) -> None:  # noqa: ANN401
        try:
            settings = module.Settings(**values)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        core = () if on_all_cores else (proc.reserve_core(),)
        measure = functools.partial(module.run, settings, *core)
        _run(module.COLUMNS, measure, settings, json_path)


def _summary_of(module: ModuleType) -> str:
    """Return the first sentence of a module's docstring, without the name before it."""
    first = (module.__doc__ or "").strip().partition("\n\n")[0]
    return first.partition(": ")[2].replace("\n", " ")


_add_benchmark("slow", slow_client)
_add_benchmark("storm", storm)
_add_benchmark("nodes", multi_node)
_add_benchmark("unwanted", no_subscriber)
_add_benchmark("webhooks", webhooks)
_add_benchmark("scale", scale, on_all_cores=True)
_add_benchmark("workers", workers, on_all_cores=True)
_add_benchmark("bridge", bridge)
_add_benchmark("bridge-chaos", bridge_chaos, on_all_cores=True)


# Workloads of sse-node, the floor in C, and peers, in turn


def _add_work(work: Work) -> None:
    """Add a command for a workload of sse-node and, if it can do it, the floor."""
    beside = ", beside plain send() in C" if work.with_floor else ""

    @main.command(work.name, help=f"{work.about_of(Settings())}{beside}.")
    @with_options(Settings, work.settings, prefix=f"{work.name}_")
    @with_options(_Turns)
    @_json
    def command(rounds: int, json_path: Path | None, **values: Any) -> None:  # noqa: ANN401
        settings = Settings(**values)
        core = proc.reserve_core()

        def measure(screen: report.Screen) -> report.Result:
            return compare.run(settings, [work.name], rounds, core, {}, [], screen)

        _run(compare.COLUMNS, measure, settings, json_path)


for each in WORKS.values():
    _add_work(each)


@main.command("compare")
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="NAME|URL",
    help=f"Measure beside sse-node: {', '.join(PEERS)}, or a running server, as "
    "http://HOST:PORT/PATH/{} with {} for the user. May be given several times.",
)
@click.option(
    "--peer-publish",
    metavar="COMMAND",
    help="For a URL: reads one JSON object a line from stdin, "
    '{"userId", "eventType", "data"}, and publishes it.',
)
@click.option(
    "--peer-pid",
    "peer_pids",
    multiple=True,
    type=click.IntRange(1),
    help="For a URL: a process whose CPU and memory are the server's. May be given several times.",
)
@click.option(
    "--work",
    default=",".join(WORKS),
    show_default=True,
    help="Kinds of work, separated by commas.",
)
@with_options(_Turns)
@click.option(
    "--quick", is_flag=True, help="A tenth of everything: shows that it works, not how fast it is."
)
@_json
@_file("--html", "Write a report with plots to this file.", "report.html")
def compare_command(
    peers: tuple[str, ...],
    peer_publish: str | None,
    peer_pids: tuple[int, ...],
    work: str,
    rounds: int,
    quick: bool,
    json_path: Path | None,
    html_path: Path,
) -> None:
    """The same work for sse-node, plain send() in C, and other servers, in turn."""
    from bench.report import html  # here, because the import takes a second

    works = [name.strip() for name in work.split(",")]
    if unknown := sorted(set(works) - set(WORKS)):
        raise click.BadParameter(f"no such work: {', '.join(unknown)}", param_hint="--work")
    settings = QUICK_SETTINGS if quick else Settings()
    skipped: list[str] = []
    core = proc.reserve_core()
    contestants = _contestants(peers, peer_publish, peer_pids, core, skipped)
    for line in skipped:
        click.echo(line, err=True)
    where = report.environment()  # before there is any load

    def measure(screen: report.Screen) -> report.Result:
        result = compare.run(settings, works, rounds, core, contestants, skipped, screen)
        html_path.write_text(html.render(where, settings, rounds, result), "utf-8")
        return result

    _run(compare.COLUMNS, measure, settings, json_path)
    click.echo(f"the report is in {html_path}")


def _contestants(
    peers: Sequence[str],
    publish: str | None,
    pids: Sequence[int],
    core: int,
    skipped: list[str],
) -> compare.Contestants:
    """Return what is measured beside the node; add those that are not installed to `skipped`."""
    contestants: compare.Contestants = {}
    if (publish or pids) and not any("://" in name for name in peers):
        raise click.UsageError("--peer-publish and --peer-pid are for a --peer with a URL")
    for name in peers:
        if "://" in name:
            if not publish:
                raise click.UsageError("--peer with a URL needs --peer-publish COMMAND")
            try:
                label = UrlPeer(name, publish, pids).name
            except ValueError as error:
                raise click.BadParameter(str(error), param_hint="--peer") from error
            contestants[label] = functools.partial(UrlPeer, name, publish, pids)
        elif name not in PEERS:
            raise click.BadParameter(
                f"no such peer: {name}; expected {', '.join(PEERS)} or a URL", param_hint="--peer"
            )
        elif missing := PEERS[name].missing():
            skipped.append(f"{name}: {missing} not installed; `{INSTALL}` installs it")
        else:
            contestants[name] = functools.partial(PEERS[name], core)
    return contestants


@main.command("results")
@click.option("--check", is_flag=True, help="Fail when RESULTS.md is not up to date.")
def results_command(check: bool) -> None:
    """Write the runs in bench/results into RESULTS.md; --json makes such a file."""
    text = results.DOCUMENT.read_text("utf-8")
    made = results.with_runs(text, results.runs())
    if check and made != text:
        raise click.ClickException("RESULTS.md is not what `python -m bench results` writes")
    results.DOCUMENT.write_text(made, "utf-8")


@main.command("chaos")
@with_options(chaos.Settings)
@_json
def chaos_command(json_path: Path | None, **values: Any) -> None:  # noqa: ANN401
    """Nothing lost: faults on real processes, and a checker of every stream."""
    settings = chaos.Settings(**values)
    if unknown := sorted(set(settings.chosen_faults) - set(settings.known_faults)):
        raise click.BadParameter(f"no such fault: {', '.join(unknown)}", param_hint="--faults")
    _run(chaos_report.COLUMNS, functools.partial(chaos.run, settings), settings, json_path)


@main.command("autoscale")
@click.argument("manifests", type=click.File())
@click.option("--plot", type=click.Path(path_type=Path), help="Write a plot as SVG.")
def autoscale_command(manifests: TextIO, plot: Path | None) -> None:
    """A day against the rules of the Helm chart; MANIFESTS is what `helm template` prints."""
    import yaml

    from bench.autoscaling import day, rules
    from bench.autoscaling.plot import draw

    found = rules.rules_of(yaml.safe_load_all(manifests))
    simulated = day.simulate(found)
    for what, value in day.summary(simulated, found).items():
        click.echo(f"{what:45}{value:>10,}")
    if plot is not None:
        draw(simulated, found, plot)


def _run(
    columns: Sequence[str],
    measure: Callable[[report.Screen], report.Result],
    settings: object,
    json_path: Path | None,
) -> None:
    name = click.get_current_context().info_name or ""
    console = Console()
    where = report.environment()
    console.print(report.environment_table(where))
    try:
        with report.Screen(name, columns) as screen:
            result = measure(screen)
    except ProcessError as error:
        raise click.ClickException(str(error)) from error
    for table in result.tables():
        console.print(report.printable(table))
    if json_path:
        report.write_json(json_path, where, name, settings, result)
    if result.verdict:
        raise click.ClickException(result.verdict)


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)  # `with` blocks end everything that was started


if __name__ == "__main__":
    main(prog_name="python -m bench")
