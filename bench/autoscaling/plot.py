"""The plot of a simulated day, as SVG."""

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from bench.autoscaling.rules import Rules
from bench.autoscaling.simulation import Day

_STEP_S = 60  # of the plot: a value a minute, the largest of its seconds
_INK, _PODS, _STREAMS, _BACK = "#57606a", "#0969da", "#1a7f37", "#bc4c00"


def draw(day: Day, rules: Rules, path: Path) -> None:
    """Write the plot of a day: pods, streams of the fullest one, streams that come back."""
    hours = [second / 3600 for second in range(0, len(day.pods), _STEP_S)]
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "autoscaling"}):
        figure = Figure(figsize=(9, 6.4), layout="constrained")
        pods, streams, back = figure.subplots(3, 1, sharex=True)
        pods.step(hours, _each_minute(day.pods), where="post", color=_PODS)
        pods.set_ylabel("pods")
        pods.set_ylim(0, max(day.pods) + 1)
        streams.plot(hours, _each_minute(day.streams), color=_STREAMS, label="all pods")
        streams.plot(hours, _each_minute(day.fullest), color=_PODS, label="the fullest pod")
        streams.axhline(rules.max_streams, color=_INK, linestyle=":", label="limit of a pod")
        streams.axhline(rules.target, color=_INK, linestyle="--", label="target of a pod")
        streams.set_ylabel("streams")
        streams.legend(frameon=False, fontsize=8, ncols=4, loc="upper left")
        streams.set_ylim(0, max(day.streams) * 1.25)
        back.plot(hours, [each + 0.1 for each in _each_minute(day.reconnects)], color=_BACK)
        back.set_yscale("log")
        back.set_ylabel("reconnects in a second")
        back.set_xlabel("hour of the day")
        back.set_xticks(range(0, 25, 3))
        for axes in (pods, streams, back):
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(colors=_INK)
            axes.grid(axis="y", alpha=0.2)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _each_minute(values: list[int]) -> list[int]:
    return [max(values[at : at + _STEP_S]) for at in range(0, len(values), _STEP_S)]
