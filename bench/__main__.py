"""The command line: ``python -m bench`` lists the benchmarks, ``python -m bench NAME`` runs one."""

from __future__ import annotations

import functools
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click
from rich.console import Console

from bench import compare
from bench.chaos import faults as chaos_faults
from bench.chaos import report as chaos_report
from bench.chaos import runner as chaos
from bench.harness import ProcessError
from bench.measure import procfs as proc
from bench.measure.steady import Turns
from bench.report import tables as report
from bench.targets import INSTALL, PEERS
from bench.targets.url import UrlPeer
from bench.workloads import fanout, idle, latency, opening, saturate, scale, storm, unicast
from bench.workloads import multi_node as nodes
from bench.workloads import no_subscriber as unwanted
from bench.workloads import slow_client as slow
from bench.workloads import workers as workers_bench
from bench.workloads.work import QUICK_SETTINGS, WORKS
from bench.workloads.work import Settings as CompareSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from bench.harness.servers import Server

Settings = TypeVar("Settings")
FC = TypeVar("FC", bound="Callable[..., object] | click.Command")


def _in_a_folder(
    context: click.Context, parameter: click.Parameter, path: Path | None
) -> Path | None:
    """Look for the folder of what is written when the work is done, before it begins."""
    if path is not None and not path.parent.is_dir():
        raise click.BadParameter(f"there is no folder {str(path.parent)!r}", context, parameter)
    return path


_json = click.option(
    "--json",
    "json_path",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    callback=_in_a_folder,
    help="Write the result to this file as well.",
)


def _option(
    name: str, default: float, kind: click.ParamType[float], text: str
) -> Callable[[FC], FC]:
    return click.option(name, default=default, show_default=True, type=kind, help=text)


_streams = _option("--streams", 1_000, click.IntRange(1, 15_000), "Open streams of one user.")
_payload = _option("--payload", 200, click.IntRange(60, 200_000), "Bytes of an event's data.")
_pairs = _option("--pairs", 5, click.IntRange(1, 100), "Windows of both in turn.")
_rounds = _option("--rounds", 5, click.IntRange(1, 100), "Rounds.")
_seconds = _option("--seconds", 5.0, click.FloatRange(0.1, 600), "Seconds of one window.")
_warmup = _option("--warmup", 2.0, click.FloatRange(0, 60), "Seconds before what is measured.")


@click.group(invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """Measure sse-node on this machine, on one core, with real processes."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
    signal.signal(signal.SIGTERM, _end)


@main.command("fanout")
@_streams
@_option("--rate", 50.0, click.FloatRange(0.1, 10_000), "Events a second.")
@_warmup
@_seconds
@_pairs
@_option("--idle-streams", 5_000, click.IntRange(2000, 15_000), "For memory and opening.")
@_payload
@_json
def fanout_command(
    streams: int,
    rate: float,
    warmup: float,
    seconds: float,
    pairs: int,
    idle_streams: int,
    payload: int,
    json_path: Path | None,
) -> None:
    """CPU and latency per delivery at a steady rate, beside plain send() in C."""
    settings = fanout.Settings(streams, payload, idle_streams, Turns(rate, warmup, seconds, pairs))
    _run(fanout.COLUMNS, fanout.run, settings, json_path)


@main.command("saturate")
@_streams
@_option("--events", 3_000, click.IntRange(1, 100_000), "Events of a round.")
@_option("--rounds", 5, click.IntRange(1, 100), "Rounds after the warm-up.")
@_payload
@_json
def saturate_command(
    streams: int, events: int, rounds: int, payload: int, json_path: Path | None
) -> None:
    """Deliveries per second when events come as fast as they go."""
    settings = saturate.Settings(streams, events, rounds, payload)
    _run(saturate.COLUMNS, saturate.run, settings, json_path)


@main.command("slow")
@_option("--streams", 50, click.IntRange(1, 5000), "Streams that read.")
@_option("--rate", 1_000.0, click.FloatRange(1, 10_000), "Events a second.")
@_option("--seconds", 10.0, click.FloatRange(1, 600), "Seconds of one window.")
@_option("--pairs", 5, click.IntRange(1, 100), "Windows without and with a slow client in turn.")
@_payload
@_json
def slow_command(
    streams: int, rate: float, seconds: float, pairs: int, payload: int, json_path: Path | None
) -> None:
    """What one client that stops reading does to the others."""
    settings = slow.Settings(streams, rate, seconds, pairs, payload)
    _run(slow.COLUMNS, slow.run, settings, json_path)


@main.command("unicast")
@_option("--users", 10_000, click.IntRange(1, 15_000), "Users, with a stream each.")
@_option("--rate", 10_000.0, click.FloatRange(1, 100_000), "Events a second, of all users.")
@_warmup
@_seconds
@_pairs
@_payload
@_json
def unicast_command(
    users: int,
    rate: float,
    warmup: float,
    seconds: float,
    pairs: int,
    payload: int,
    json_path: Path | None,
) -> None:
    """CPU and latency per event when every event is for one stream, beside plain send() in C."""
    settings = unicast.Settings(users, payload, Turns(rate, warmup, seconds, pairs))
    _run(unicast.COLUMNS, unicast.run, settings, json_path)


@main.command("latency")
@_option("--streams", 1, click.IntRange(1, 15_000), "Open streams, all of one user.")
@_option("--rate", 100.0, click.FloatRange(1, 10_000), "Events a second.")
@_warmup
@_seconds
@_pairs
@_payload
@_json
def latency_command(
    streams: int,
    rate: float,
    warmup: float,
    seconds: float,
    pairs: int,
    payload: int,
    json_path: Path | None,
) -> None:
    """From PUBLISH to the client, beside a bare subscriber of Redis in C."""
    settings = latency.Settings(streams, payload, Turns(rate, warmup, seconds, pairs))
    _run(latency.COLUMNS, latency.run, settings, json_path)


@main.command("idle")
@_option("--streams", 15_000, click.IntRange(15, 18_000), "Open streams, a user each.")
@_option("--seconds", 30.0, click.FloatRange(0.1, 600), "For CPU; pings come every 15 s.")
@_json
def idle_command(streams: int, seconds: float, json_path: Path | None) -> None:
    """Memory by open streams, and CPU while nothing is published."""
    steps = [streams // 15, streams // 3, streams * 2 // 3, streams]
    _run(idle.COLUMNS, idle.run, idle.Settings(steps, seconds), json_path)


@main.command("open")
@_option("--streams", 5_000, click.IntRange(1, 18_000), "Streams opened, a user each.")
@_option("--at-once", 256, click.IntRange(1, 18_000), "Requests that wait at a time.")
@_rounds
@_json
def open_command(streams: int, at_once: int, rounds: int, json_path: Path | None) -> None:
    """Streams opened per second."""
    settings = opening.Settings(streams, at_once, rounds)
    _run(opening.COLUMNS, opening.run, settings, json_path)


@main.command("storm")
@_option("--streams", 15_000, click.IntRange(1, 18_000), "Streams cut, a user each.")
@_option("--rate", 3_000.0, click.FloatRange(1, 10_000), "Events a second, through the log.")
@_option("--seconds", 10.0, click.FloatRange(0.1, 600), "For which events are published.")
@_option("--cut-after", 2.0, click.FloatRange(0.1, 600), "Seconds of events before the cut.")
@_option("--at-once", 2_000, click.IntRange(1, 18_000), "Requests that wait at a time.")
@_option("--rounds", 3, click.IntRange(1, 100), "Rounds.")
@_option("--history", 16_384, click.IntRange(1, 1_000_000), "Events in the node's memory.")
@_payload
@_json
def storm_command(
    streams: int,
    rate: float,
    seconds: float,
    cut_after: float,
    at_once: int,
    rounds: int,
    history: int,
    payload: int,
    json_path: Path | None,
) -> None:
    """All streams cut at once and back at once, while events go on being published."""
    settings = storm.Settings(streams, rate, seconds, cut_after, at_once, rounds, payload, history)
    _run(storm.COLUMNS, storm.run, settings, json_path)


@main.command("nodes")
@click.option("--nodes", "counts", default="1,2,4,8", show_default=True, help="How many, in turn.")
@_option("--streams", 1_000, click.IntRange(1, 15_000), "Of all nodes, a user each.")
@_option("--rate", 1_000.0, click.FloatRange(1, 10_000), "Events a second.")
@_warmup
@_seconds
@_rounds
@_payload
@_json
def nodes_command(
    counts: str,
    streams: int,
    rate: float,
    warmup: float,
    seconds: float,
    rounds: int,
    payload: int,
    json_path: Path | None,
) -> None:
    """What an event costs each node, the more there are on one Redis."""
    settings = nodes.Settings(
        _numbers(counts, "--nodes", streams), streams, rate, warmup, seconds, rounds, payload
    )
    _run(nodes.COLUMNS, nodes.run, settings, json_path)


@main.command("unwanted")
@_option("--events", 1_000_000, click.IntRange(1, 10_000_000), "Events of a round.")
@_option("--users", 1_000, click.IntRange(2, 1_000_000), "For whom they are in turn.")
@_rounds
@_payload
@_json
def unwanted_command(
    events: int, users: int, rounds: int, payload: int, json_path: Path | None
) -> None:
    """Events per second that nobody on the node wants."""
    settings = unwanted.Settings(events, users, rounds, payload)
    _run(unwanted.COLUMNS, unwanted.run, settings, json_path)


@main.command("scale")
@_option("--streams", 100_000, click.IntRange(10, 1_000_000), "Open streams, a user each.")
@_option("--workers", 0, click.IntRange(0, 1000), "0 for as many as hold the streams.")
@click.option("--as-nodes", is_flag=True, help="Nodes with a port each instead of workers.")
@_option("--at-once", 256, click.IntRange(1, 16_000), "Requests of a client that wait at a time.")
@_option("--ping-interval", 15.0, click.FloatRange(0.1, 300), "Seconds between two pings.")
@_option("--intervals", 2, click.IntRange(1, 100), "Between pings, that are listened to.")
@_option("--broadcasts", 5, click.IntRange(1, 1000), "Events for all streams.")
@_payload
@_json
def scale_command(
    streams: int,
    workers: int,
    as_nodes: bool,
    at_once: int,
    ping_interval: float,
    intervals: int,
    broadcasts: int,
    payload: int,
    json_path: Path | None,
) -> None:
    """Very many streams over several processes: memory, pings on time, one event to all."""
    settings = scale.Settings(
        streams,
        workers,
        as_nodes,
        at_once,
        ping_interval,
        intervals,
        broadcasts,
        payload,
    )
    _run_on_all_cores(scale.COLUMNS, scale.run, settings, json_path)


@main.command("workers")
@_option("--workers", 2, click.IntRange(2, 64), "Workers beside one.")
@_streams
@_option("--rate", 50.0, click.FloatRange(0.1, 10_000), "Events a second.")
@_warmup
@_seconds
@_pairs
@_payload
@_json
def workers_command(
    workers: int,
    streams: int,
    rate: float,
    warmup: float,
    seconds: float,
    pairs: int,
    payload: int,
    json_path: Path | None,
) -> None:
    """One worker and several in turn: CPU per delivery, and how even it is spread."""
    settings = workers_bench.Settings(
        workers, streams, payload, Turns(rate, warmup, seconds, pairs)
    )
    _run_on_all_cores(workers_bench.COLUMNS, workers_bench.run, settings, json_path)


@main.command("chaos")
@click.option("--seed", default=1, show_default=True, help="The schedule is drawn from it.")
@_option("--minutes", 2.0, click.FloatRange(0, 24 * 60), "No fault is struck after so long.")
@click.option(
    "--faults",
    default=",".join(chaos_faults.possible_faults()),
    show_default=True,
    help="Kinds of faults, separated by commas.",
)
@_option("--streams", 300, click.IntRange(1, 2000), "Open streams, spread over the users.")
@_option("--users", 20, click.IntRange(1, 1000), "Users.")
@_option("--rate", 100.0, click.FloatRange(1, 1000), "Events a second, all users together.")
@_json
def chaos_command(
    seed: int,
    minutes: float,
    faults: str,
    streams: int,
    users: int,
    rate: float,
    json_path: Path | None,
) -> None:
    """Nothing lost: faults on real processes, and a judge of every stream."""
    names = [name.strip() for name in faults.split(",")]
    if unknown := sorted(set(names) - set(chaos_faults.FAULTS)):
        raise click.BadParameter(f"no such fault: {', '.join(unknown)}", param_hint="--faults")
    settings = chaos.Settings(seed, minutes, names, streams, rate, users)
    console = Console()
    where = report.environment()
    console.print(report.environment_table(where))
    try:
        with report.Screen("chaos", chaos_report.COLUMNS) as screen:
            result = chaos.run(settings, screen)
    except ProcessError as error:
        raise click.ClickException(str(error)) from error
    for table in result.tables():
        console.print(table)
    if json_path:
        report.write_json(json_path, where, "chaos", settings, result)
    if result.guilty:
        raise click.ClickException("; ".join(("guilty", *result.problems)))


def _numbers(text: str, option: str, highest: int) -> list[int]:
    try:
        numbers = [int(number) for number in text.split(",")]
    except ValueError:
        numbers = [0]
    if min(numbers) < 1 or max(numbers) > highest:
        raise click.BadParameter(f"expected numbers from 1 to {highest}", param_hint=option)
    return numbers


@main.command("compare")
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="NAME|URL",
    help=f"Measure beside sse-node: {', '.join(PEERS)}, or a server that runs already, as "
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
@_option("--rounds", 3, click.IntRange(1, 100), "Of all servers, in turn, at every work.")
@click.option(
    "--quick", is_flag=True, help="A tenth of everything: shows that it works, not how fast it is."
)
@_json
@click.option(
    "--html",
    "html_path",
    default="report.html",
    show_default=True,
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    callback=_in_a_folder,
    help="Write a report with plots to this file.",
)
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
    from bench.report import (
        html as html_report,  # it takes a second, for which no other benchmark shall wait
    )

    works = [name.strip() for name in work.split(",")]
    if unknown := sorted(set(works) - set(WORKS)):
        raise click.BadParameter(f"no such work: {', '.join(unknown)}", param_hint="--work")
    settings = QUICK_SETTINGS if quick else CompareSettings()
    skipped: list[str] = []
    core = proc.reserve_core()
    contestants = _contestants(peers, peer_publish, peer_pids, core, skipped)
    for line in skipped:
        click.echo(line, err=True)

    where = report.environment()  # before there is any load

    def measure(settings: CompareSettings, core: int, screen: report.Screen) -> report.Result:
        result = compare.run(settings, works, rounds, core, contestants, skipped, screen)
        html_report.write(html_path, where, settings, rounds, result)
        return result

    _run(compare.COLUMNS, measure, settings, json_path, core)
    click.echo(f"the report is in {html_path}")


def _contestants(
    peers: Sequence[str],
    publish: str | None,
    pids: Sequence[int],
    core: int,
    skipped: list[str],
) -> compare.Contestants:
    """What is to be measured beside the node; adds to `skipped` who is not installed."""
    contestants: compare.Contestants = {}
    if (publish or pids) and not any("://" in name for name in peers):
        raise click.UsageError("--peer-publish and --peer-pid are for a --peer with a URL")
    for name in peers:
        if "://" in name:
            if not publish:
                raise click.UsageError("--peer with a URL needs --peer-publish COMMAND")
            try:
                server = UrlPeer(name, publish, pids)
            except ValueError as error:
                raise click.BadParameter(str(error), param_hint="--peer") from error
            contestants[server.name] = functools.partial(_itself, server)
        elif name not in PEERS:
            raise click.BadParameter(
                f"no such peer: {name}; expected {', '.join(PEERS)} or a URL", param_hint="--peer"
            )
        elif missing := PEERS[name].missing():
            skipped.append(f"{name}: {missing} not installed; `{INSTALL}` installs it")
        else:
            contestants[name] = functools.partial(PEERS[name].make, core)
    return contestants


def _itself(server: Server) -> Server:
    return server


def _run(
    columns: Sequence[str],
    measure: Callable[[Settings, int, report.Screen], report.Result],
    settings: Settings,
    json_path: Path | None,
    core: int | None = None,
) -> None:
    """Run a benchmark whose server has a core for itself."""

    def measure_with_core(settings: Settings, screen: report.Screen) -> report.Result:
        return measure(settings, proc.reserve_core() if core is None else core, screen)

    _run_on_all_cores(columns, measure_with_core, settings, json_path)


def _run_on_all_cores(
    columns: Sequence[str],
    measure: Callable[[Settings, report.Screen], report.Result],
    settings: Settings,
    json_path: Path | None,
) -> None:
    name = click.get_current_context().info_name or ""
    console = Console()
    where = report.environment()
    console.print(report.environment_table(where))
    try:
        with report.Screen(name, columns) as screen:
            result = measure(settings, screen)
    except ProcessError as error:
        raise click.ClickException(str(error)) from error
    for table in result.tables():
        console.print(table)
    if json_path:
        report.write_json(json_path, where, name, settings, result)
    if result.problems:
        raise click.ClickException("the result counts for nothing: " + "; ".join(result.problems))


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)  # everything that was started ends with its `with` block


if __name__ == "__main__":
    main(prog_name="python -m bench")
