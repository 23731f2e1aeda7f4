"""The result of a run, as tables and as JSON."""

import statistics
from collections import Counter

import msgspec

from bench.chaos.checker import Case, Violation
from bench.report.tables import Result, Table, table

COLUMNS = ("fault", "injected at", "took", "recovered in", "resets", "lost by Redis")
_CASES_SHOWN = 20  # arbitrary


class Injected(msgspec.Struct, frozen=True):
    """One injected fault."""

    fault: str
    node: str
    """The affected node, if it is a fault of one node."""
    began_s: float
    """After the first fault."""
    took_s: float
    recovered_s: float
    """From its end until every affected stream had a new event."""
    resets: int
    """Streams that got `sse.reset`."""
    lost_by_redis: int
    """Events that Redis acknowledged and then lost."""

    def cells(self) -> tuple[str, ...]:
        """A row for `COLUMNS`."""
        return (
            f"{self.fault} {self.node}".strip(),
            f"{self.began_s:.1f} s",
            f"{self.took_s:.1f} s",
            f"{self.recovered_s:.2f} s",
            f"{self.resets}",
            f"{self.lost_by_redis}",
        )


class ChaosResult(Result):
    """The result of `chaos`. `problems` are errors that no stream shows."""

    seed: int
    injected: list[Injected]
    cases: list[Case]
    streams: int
    connections: int
    acknowledged: int
    attempts: int
    deliveries: int

    @property
    def failed(self) -> bool:
        """Whether there is any violation or problem."""
        return bool(self.cases or self.problems)

    @property
    def verdict(self) -> str:
        """The problems as a sentence; empty without problems."""
        return "; ".join(("violations found", *self.problems)) if self.failed else ""

    def tables(self) -> list[Table]:
        """Return a row for each kind of fault, the figures of the run, and the violations."""
        tables = [
            table(
                "chaos",
                ("fault", "times", "recovery p50", "p99", "resets", *Violation),
                self._rows(),
            )
        ]
        figures = [
            ("seed", f"{self.seed}"),
            ("faults", f"{len(self.injected):,}"),
            ("events acknowledged", f"{self.acknowledged:,}"),
            ("attempts to publish them", f"{self.attempts:,}"),
            ("events seen by streams", f"{self.deliveries:,}"),
            ("streams", f"{self.streams:,}"),
            ("connections they made", f"{self.connections:,}"),
        ]
        tables.append(table("", ("the run", ""), figures))
        if self.cases:
            lines = [
                (case.violation, self._fault_name(case), case.stream, case.detail)
                for case in self.cases[:_CASES_SHOWN]
            ]
            title = f"the first {len(lines)} of {len(self.cases)} violations"
            tables.append(table(title, ("violation", "fault", "stream", "detail"), lines))
        return tables

    def _rows(self) -> list[list[str]]:
        violations = Counter((self._fault_name(case), case.violation) for case in self.cases)
        rows = []
        for fault in sorted({injected.fault for injected in self.injected}):
            all_struck = [injected for injected in self.injected if injected.fault == fault]
            recovered = sorted(injected.recovered_s for injected in all_struck)
            rows.append(
                [
                    fault,
                    str(len(all_struck)),
                    f"{statistics.median(recovered):.2f} s",
                    f"{_p99(recovered):.2f} s",
                    str(sum(injected.resets for injected in all_struck)),
                    *(str(violations[fault, violation]) for violation in Violation),
                ]
            )
        before = [str(violations["", violation]) for violation in Violation]
        if any(count != "0" for count in before):
            rows.append(["before the first", "", "", "", "", *before])
        return rows

    def _fault_name(self, case: Case) -> str:
        return self.injected[case.fault].fault if case.fault >= 0 else ""


def _p99(ordered: list[float]) -> float:
    return ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]
