"""The conditions of a measurement: which CPU, which of its cores, and what else kept them busy (Linux, from /proc)."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

BUSY_FRACTION = 0.05  # of the machine that others may use before figures are marked
_IDLE_FIELDS = (3, 4)  # of /proc/stat's first line: idle, iowait
_STEAL_FIELD = 7


def _cpuinfo(key: str) -> str:
    """The first CPU's line in /proc/cpuinfo; empty if there is none."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(key):
            return line.partition(":")[2].strip()
    return ""


def cpu_model() -> str:
    return _cpuinfo("model name") or platform.machine()


def has_avx512() -> bool:
    return "avx512f" in _cpuinfo("flags").split()


def cache_bytes() -> int:
    """The last-level cache; 0 if unknown."""
    try:
        return int(Path("/sys/devices/system/cpu/cpu0/cache/index3/size").read_text().strip().removesuffix("K")) << 10
    except (OSError, ValueError):
        return 0


def _cpus(text: str) -> list[int]:
    """Linux's list notation: "0-3,8" is 0, 1, 2, 3, 8."""
    numbers = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def one_cpu_a_core() -> list[int]:
    """The CPUs that this process may use, without the second and further hardware threads of a core."""
    allowed, cores, chosen = sorted(os.sched_getaffinity(0)), set(), []
    for cpu in allowed:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        core = min(_cpus(path.read_text().strip())) if path.exists() else cpu
        if core not in cores:
            cores.add(core)
            chosen.append(cpu)
    return chosen


def _times() -> list[int]:
    return [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]


def busy_and_stolen(before: list[int], after: list[int]) -> tuple[float, float]:
    """Fractions of all CPU time between two samples: used by anyone, and taken by the host from this virtual machine."""
    spent = [late - early for early, late in zip(before, after)]
    total = sum(spent)
    if total <= 0:
        return 0.0, 0.0
    idle = sum(spent[field] for field in _IDLE_FIELDS)
    return (total - idle) / total, spent[_STEAL_FIELD] / total


class Watch:
    """How busy the machine was when nothing of ours ran, and how much of the whole time the host took."""

    def __init__(self) -> None:
        self._first = _times()
        self.busiest = 0.0

    def sample_idle(self, seconds: float = 0.5) -> float:
        """Call while all workers wait: what is busy then is somebody else."""
        before = _times()
        time.sleep(seconds)
        busy = busy_and_stolen(before, _times())[0]
        self.busiest = max(self.busiest, busy)
        return busy

    def stolen(self) -> float:
        return busy_and_stolen(self._first, _times())[1]
