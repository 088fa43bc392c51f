"""Progress on stderr: a bar redrawn in place on a terminal, a plain line every tenth of the way elsewhere."""

from __future__ import annotations

import sys
import time

_BAR_CELLS = 30
_REDRAW_SECONDS = 0.1


class Progress:
    """Counts up to `total` bytes; use as a context manager so that the last line is always finished."""

    def __init__(self, label: str, total_bytes: int, stream=None) -> None:
        self._label, self._total, self._stream = label, max(total_bytes, 1), stream or sys.stderr
        self._done, self._shown_tenth, self._drawn_at = 0, -1, 0.0
        self._started = time.monotonic()

    def __enter__(self) -> "Progress":
        self._show()
        return self

    def __exit__(self, *exception) -> None:
        if self._stream.isatty():
            self._draw()
            self._stream.write("\n")
            self._stream.flush()

    def advance(self, count_bytes: int) -> None:
        self._done += count_bytes
        self._show()

    def _show(self) -> None:
        if self._stream.isatty():
            if time.monotonic() - self._drawn_at >= _REDRAW_SECONDS:
                self._draw()
        elif self._done * 10 // self._total > self._shown_tenth:
            self._shown_tenth = self._done * 10 // self._total
            print(self._text(), file=self._stream, flush=True)

    def _draw(self) -> None:
        self._drawn_at = time.monotonic()
        cells = _BAR_CELLS * self._done // self._total
        self._stream.write(f"\r[{'#' * cells}{'.' * (_BAR_CELLS - cells)}] {self._text()}\x1b[K")
        self._stream.flush()

    def _text(self) -> str:
        seconds = time.monotonic() - self._started
        return (f"{self._label}: {100 * self._done // self._total:3d} %, "
                f"{self._done / 2**20:.0f} of {self._total / 2**20:.0f} MiB, {seconds:.0f} s")
