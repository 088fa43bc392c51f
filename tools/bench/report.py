"""The table and the figures in it: medians over interleaved rounds, ratios and shares of limits round by round."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from roofline import Limits, Work, binding_limit, least_seconds


@dataclass(frozen=True)
class Round:
    """Seconds of each engine, one after the other, and the machine's limits measured right behind them."""

    seconds: dict[str, float]
    limits: Limits


@dataclass
class Case:
    """One row: what was measured, on what, and every round of it."""

    weights: str
    threads: int
    sequences: int
    phase: str  # "prefill" or "decode"
    tokens: int  # of one round
    works: dict[str, Work]  # by engine
    rounds: list[Round] = field(default_factory=list)

    def speeds(self, engine: str) -> list[float]:
        """Tokens a second, round by round."""
        return [self.tokens / round_.seconds[engine] for round_ in self.rounds]

    def speed(self, engine: str) -> float:
        return statistics.median(self.speeds(engine))

    def spread(self, engine: str) -> float:
        """Half the distance between slowest and fastest round, as a fraction of the median."""
        speeds = self.speeds(engine)
        return (max(speeds) - min(speeds)) / 2 / statistics.median(speeds)

    def ratio(self, engine: str, other: str) -> float:
        """How many times as fast `engine` is; the median of the rounds' ratios, which drift of the machine leaves alone."""
        return statistics.median(round_.seconds[other] / round_.seconds[engine] for round_ in self.rounds)

    def share_of_limit(self, engine: str) -> float:
        """1: as fast as this machine can read or multiply, whichever takes longer."""
        return statistics.median(least_seconds(self.works[engine], round_.limits) / round_.seconds[engine]
                                 for round_ in self.rounds)

    def limits(self) -> Limits:
        return Limits(statistics.median(round_.limits.bytes for round_ in self.rounds),
                      statistics.median(round_.limits.operations for round_ in self.rounds))

    def binding(self, engine: str) -> str:
        return binding_limit(self.works[engine], self.limits())

    def to_json(self) -> dict:
        engines = {name: {"tokens_per_second": self.speed(name), "spread": self.spread(name), "rounds": self.speeds(name),
                          "share_of_limit": self.share_of_limit(name), "limit": self.binding(name),
                          "bytes": self.works[name].bytes, "operations": self.works[name].operations}
                   for name in self.works}
        limits = self.limits()
        return {"weights": self.weights, "threads": self.threads, "sequences": self.sequences, "phase": self.phase,
                "tokens": self.tokens, "engines": engines,
                "ratios": {name: self.ratio("platen", name) for name in self.works if name != "platen"},
                "bytes_per_second": limits.bytes, "operations_per_second": limits.operations}


def speed_text(case: Case, engine: str) -> str:
    if engine not in case.works:
        return "–"
    speed = case.speed(engine)
    digits = 1 if speed < 100 else 0
    return f"{speed:.{digits}f} ±{100 * case.spread(engine):.0f} %"


def share_text(case: Case, engine: str) -> str:
    return f"{100 * case.share_of_limit(engine):.0f} % {case.binding(engine)}" if engine in case.works else "–"


def markdown_table(cases: list[Case], peers: list[str]) -> str:
    """Speeds in tokens a second; one line a case that has rounds."""
    header = ["weights", "threads", "sequences", "phase", "platen tok/s"]
    for peer in peers:
        header += [f"{peer} tok/s", f"platen / {peer}"]
    header += ["platen of limit", *(f"{peer} of limit" for peer in peers)]
    rows = [header, [":--", "--:", "--:", ":--", *["--:"] * (len(header) - 4)]]
    for case in cases:
        if not case.rounds:
            continue
        row = [case.weights, str(case.threads), str(case.sequences), case.phase, speed_text(case, "platen")]
        for peer in peers:
            row += [speed_text(case, peer), f"{case.ratio('platen', peer):.2f}" if peer in case.works else "–"]
        rows.append([*row, share_text(case, "platen"), *(share_text(case, peer) for peer in peers)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def limits_table(cases: list[Case], code: dict[str, str]) -> str:
    """What the machine could do while each weight format ran; `code` names the instructions a format's peak is of."""
    lines = ["| weights | threads | reads | multiplies | with |", "| :-- | --: | --: | --: | :-- |"]
    seen = {}
    for case in cases:
        if case.rounds:
            seen.setdefault((case.weights, case.threads), []).append(case.limits())
    for (weights, threads), limits in seen.items():
        read = statistics.median(limit.bytes for limit in limits)
        multiply = statistics.median(limit.operations for limit in limits)
        lines.append(f"| {weights} | {threads} | {read / 1e9:.1f} GB/s | {multiply / 1e9:.0f} Gop/s | {code[weights]} |")
    return "\n".join(lines)
