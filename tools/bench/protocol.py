"""How the driver talks to what it measures: one process each, one line a command, one JSON line an answer.

A worker first says what it is, then answers `prefill S N id…` and `decode S N G id…` with {"seconds", "tokens"}, or
{"error"}. The C++ workers say the same in their sources. All workers are pinned to the same CPUs; the one whose turn
it is not waits in read().
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass


class WorkerError(Exception):
    """A worker failed; the message says which, and what it said."""


@dataclass(frozen=True)
class Task:
    """`sequences` prompts of `prompt_tokens` tokens, then `generate` tokens each (0: only the prompts are timed)."""

    sequences: int
    prompt_tokens: int
    generate: int
    ids: tuple[int, ...]  # [sequences, prompt_tokens]

    def line(self) -> str:
        head = f"decode {self.sequences} {self.prompt_tokens} {self.generate}" if self.generate else \
            f"prefill {self.sequences} {self.prompt_tokens}"
        return f"{head} {' '.join(map(str, self.ids))}"

    @staticmethod
    def parse(line: str) -> "Task":
        name, *numbers = line.split()
        if name not in ("prefill", "decode"):
            raise ValueError(f"'{line[:40]}' is no command; send prefill or decode")
        counts = 3 if name == "decode" else 2
        sequences, prompt_tokens, generate = [*map(int, numbers[:counts]), 0][:3]
        ids = tuple(map(int, numbers[counts:]))
        if len(ids) != sequences * prompt_tokens:
            raise ValueError(f"{len(ids)} ids for {sequences} prompts of {prompt_tokens} tokens")
        return Task(sequences, prompt_tokens, generate, ids)

    def prompt(self, sequence: int) -> tuple[int, ...]:
        return self.ids[sequence * self.prompt_tokens:(sequence + 1) * self.prompt_tokens]


class Worker:
    """The driver's end of one worker process; use as a context manager."""

    def __init__(self, name: str, command: list[str], cpus: list[int], environment: dict[str, str] | None = None) -> None:
        self.name = name
        self._stderr = tempfile.TemporaryFile("w+")
        try:
            # A session of its own: Ctrl-C reaches the driver alone, which then ends its workers.
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr,
                                             text=True, start_new_session=True, env={**os.environ, **(environment or {})},
                                             preexec_fn=lambda: os.sched_setaffinity(0, cpus))
        except OSError as error:
            self._stderr.close()
            raise WorkerError(f"{name} cannot be started: {error}") from error
        try:
            self.description = self._answer()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
        self._stderr.close()

    def ask(self, line: str) -> dict:
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: _answer() says why
        return self._answer()

    def measure(self, task: Task) -> float:
        """Seconds. The worker says what the time was spent on; anything else than what was asked for is an error."""
        answer = self.ask(task.line())
        expected = task.sequences * (task.generate or task.prompt_tokens)
        if answer["tokens"] != expected:
            raise WorkerError(f"{self.name} timed {answer['tokens']} tokens instead of {expected}")
        return answer["seconds"]

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            self._stderr.seek(0)
            raise WorkerError(f"{self.name} ended with status {status}: {self._stderr.read()[-600:].strip() or 'no message'}")
        try:
            answer = json.loads(line)
        except ValueError as error:
            raise WorkerError(f"{self.name} answered no JSON: {line[:200]!r}") from error
        if "error" in answer:
            raise WorkerError(f"{self.name}: {answer['error']}")
        return answer


def serve(description: dict, measure: Callable[[Task], float]) -> None:
    """The worker's end: answers commands until stdin closes."""
    def say(answer: dict) -> None:
        print(json.dumps(answer), flush=True)

    say(description)
    for line in sys.stdin:
        try:
            task = Task.parse(line)
            say({"seconds": measure(task), "tokens": task.sequences * (task.generate or task.prompt_tokens)})
        except Exception as error:  # the driver decides what a failure means
            say({"error": f"{type(error).__name__}: {error}"})
