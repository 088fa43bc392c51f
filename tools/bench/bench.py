"""Measures platen beside llama.cpp: tokens a second, ratios, and the share of what the machine could do at most.

    tools/bench/bench                                    everything (about an hour)
    tools/bench/bench --weights int8 --threads 2         some of it
    tools/bench/bench --json figures.json > table.md     the table on stdout, every round in the file

For each weight format, number of threads and number of sequences, both engines load the same model and then take turns:
one round is platen, llama.cpp, and the machine's memory bandwidth and arithmetic peak, measured right behind them. So
what else happens on the machine meets all of them. Threads are pinned, one a core, the same cores for everyone. The first round
of everybody is not counted. Missing plans and GGUFs are made once and kept in the cache folder. Ctrl-C prints what is finished.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import gguf_formats  # noqa: E402
import machine  # noqa: E402
from gguf_header import HeaderError  # noqa: E402
from gguf_source import SourceError  # noqa: E402
from protocol import Task, Worker, WorkerError  # noqa: E402
from report import Case, Round, limits_table, markdown_table  # noqa: E402
from roofline import CacheBytes, Limits, Storage, decode, prefill  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PEER, ORT = "llama.cpp", "ONNX Runtime"
PEAK = {"f32": "f32", "bf16": "bf16", "int8": "i8", "int4": "i4"}  # platen_limits' measurement for a weight format
FIRST_ID, LAST_ID = 1000, 200_000  # ordinary tokens of the vocabulary


class BenchError(Exception):
    """The benchmark cannot run; the message says why and what to do."""


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def parse_options(arguments: list[str]) -> argparse.Namespace:
    def counts(text: str) -> list[int]:
        numbers = [int(word) for word in text.split(",")]
        if min(numbers) < 1:
            raise ValueError
        return numbers

    def formats(text: str) -> list[str]:
        names = text.split(",")
        unknown = [name for name in names if name not in gguf_formats.FORMATS]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown weight format {unknown[0]!r}; there are {', '.join(gguf_formats.FORMATS)}")
        return names

    positive = lambda text: counts(text)[0]  # noqa: E731
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=formats, default=list(gguf_formats.FORMATS), help="f32,bf16,int8,int4")
    parser.add_argument("--threads", type=counts, default=[1, 2], help="default: 1,2")
    parser.add_argument("--sequences", type=counts, default=[1, 8], help="default: 1,8")
    parser.add_argument("--phases", type=lambda text: text.split(","), default=["prefill", "decode"], help="default: prefill,decode")
    parser.add_argument("--repetitions", type=positive, default=5, help="counted rounds; default: 5")
    parser.add_argument("--prompt", type=positive, default=512, help="tokens of a prefill; default: 512")
    parser.add_argument("--generate", type=positive, default=128, help="tokens of a decode; default: 128")
    parser.add_argument("--depth", type=positive, default=1, help="tokens before a decode; default: 1")
    parser.add_argument("--model", type=Path, default=ROOT / ".cache/gemma3/model.onnx", help="ONNX model of the plans")
    parser.add_argument("--gguf", type=Path, help="the same model's GGUF (default: the one that pip packages bring)")
    parser.add_argument("--plans", type=Path, help="folder of gemma3-FORMAT.plan, used as they are (default: compile them into the cache)")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache/bench", help="folder for plans and GGUFs")
    parser.add_argument("--build", type=Path, default=ROOT / "build/release", help="build folder with platen and platen_bench")
    parser.add_argument("--with-onnxruntime", action="store_true", help="also the decode of ONNX Runtime on the f32 model")
    parser.add_argument("--without-llama-cpp", action="store_true", help="platen alone")
    parser.add_argument("--json", type=Path, help="also write every round into this file")
    options = parser.parse_args(arguments)
    if set(options.phases) - {"prefill", "decode"}:
        parser.error("--phases takes prefill, decode or both")
    return options


class Bench:
    """One run: its files, its machine, its cases."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.cases: list[Case] = []
        self.code: dict[str, str] = {}  # instructions of each weight format's peak
        self.descriptions: dict[str, dict] = {}
        self.warnings: list[str] = []
        self.started = datetime.now(timezone.utc)
        self.watch = machine.Watch()
        self.cpus = machine.one_cpu_a_core()
        if max(options.threads) > len(self.cpus):
            raise BenchError(f"--threads {max(options.threads)}, but only {len(self.cpus)} cores may be used")
        self.peers = [] if options.without_llama_cpp else [PEER]
        if options.with_onnxruntime:
            self.peers.append(ORT)

    # Files

    def program(self, path: str) -> Path:
        program = self.options.build / path
        if not program.exists():
            raise BenchError(f"{program} is missing: build it (cmake --preset release && cmake --build build/release), or name "
                             "the build folder with --build")
        return program

    def prepare(self) -> None:
        options = self.options
        options.cache.mkdir(parents=True, exist_ok=True)
        self.source = options.gguf or gguf_formats.source_gguf(options.cache)
        self.model = gguf_formats.model_of(self.source)
        self.plans = {weights: self.plan(weights) for weights in options.weights}
        self.storage = {weights: self.storage_of_plan(plan) for weights, plan in self.plans.items()}
        if PEER in self.peers:
            self.ggufs = {weights: gguf_formats.ensure(self.source, weights, options.cache) for weights in options.weights}
            self.gguf_storage = {weights: gguf_formats.storage_of(path) for weights, path in self.ggufs.items()}

    def plan(self, weights: str) -> Path:
        if self.options.plans:
            plan = self.options.plans / f"gemma3-{weights}.plan"
            if not plan.exists():
                raise BenchError(f"{plan} is missing")
            return plan
        plan, compiler, model = self.options.cache / f"gemma3-{weights}.plan", self.program("tools/cli/platen"), self.options.model
        if not model.exists():
            raise BenchError(f"{model} is missing: export it (models/gemma3/export.py --output .cache/gemma3), or name it with --model")
        if not plan.exists() or plan.stat().st_mtime < max(compiler.stat().st_mtime, model.stat().st_mtime):
            say(f"compiling {plan.name}")
            status = subprocess.run([compiler, "compile", model, "-o", plan, "--weights", weights], stdout=sys.stderr).returncode
            if status:
                raise BenchError(f"platen compile --weights {weights} ended with status {status}")
        return plan

    def storage_of_plan(self, plan: Path) -> Storage:
        run = subprocess.run([self.program("tools/cli/platen"), "inspect", "--json", plan], stdout=subprocess.PIPE, text=True)
        if run.returncode:
            raise BenchError(f"platen inspect {plan} ended with status {run.returncode}")
        return storage_of_inspect(json.loads(run.stdout))

    # Workers

    def start(self, name: str, command: list, threads: int, environment: dict[str, str] | None = None) -> Worker:
        worker = Worker(name, [str(word) for word in command], self.cpus[:threads], environment)
        self.descriptions[name] = worker.description
        return worker

    def start_engine(self, engine: str, weights: str, threads: int, sequences: int) -> Worker:
        sizes = ["--threads", threads, "--sequences", sequences]
        # llama.cpp's wheel uses OpenMP; this pins its threads one a CPU, as platen pins its own.
        openmp = {"OMP_PROC_BIND": "true", "OMP_PLACES": ",".join(f"{{{cpu}}}" for cpu in self.cpus[:threads])}
        if engine == "platen":
            return self.start(engine, [self.program("tools/bench/platen_bench"), self.plans[weights], *sizes], threads)
        if engine == PEER:
            context = max(self.options.prompt, self.options.depth + self.options.generate) + 1
            return self.start(engine, [sys.executable, HERE / "llama_cpp_worker.py", self.ggufs[weights], *sizes, "--context", context],
                              threads, openmp)
        return self.start(engine, [sys.executable, HERE / "onnxruntime_worker.py", self.options.model, "--threads", threads], threads)

    # Measuring

    def task(self, phase: str, sequences: int) -> Task:
        tokens = self.options.prompt if phase == "prefill" else self.options.depth
        numbers = random.Random(sequences * tokens)
        ids = tuple(numbers.randrange(FIRST_ID, LAST_ID) for _ in range(sequences * tokens))
        return Task(sequences, tokens, self.options.generate if phase == "decode" else 0, ids)

    def case(self, weights: str, threads: int, sequences: int, phase: str, engines: list[str]) -> Case:
        options = self.options
        storages = {"platen": self.storage[weights]}
        if PEER in engines:
            storages[PEER] = self.gguf_storage[weights]
        if ORT in engines:  # the same f32 weights and f32 keys and values
            storages[ORT] = self.storage[weights]
        works = {engine: prefill(self.model, storage, sequences, options.prompt) if phase == "prefill" else
                 decode(self.model, storage, sequences, options.depth, options.generate) for engine, storage in storages.items()}
        return Case(weights, threads, sequences, phase, sequences * (options.generate if phase == "decode" else options.prompt), works)

    def measure_limits(self, limits: Worker, weights: str) -> Limits:
        peak = limits.ask(PEAK[weights])
        self.code[weights] = peak["code"]
        return Limits(limits.ask("stream")["per_second"], peak["per_second"])

    def run_case(self, case: Case, workers: dict[str, Worker], limits: Worker) -> None:
        task = self.task(case.phase, case.sequences)
        for number in range(self.options.repetitions + 1):
            seconds = {engine: worker.measure(task) for engine, worker in workers.items()}
            measured = self.measure_limits(limits, case.weights)
            if number:  # the first round warms up
                case.rounds.append(Round(seconds, measured))

    def run_configuration(self, weights: str, threads: int, sequences: int) -> None:
        engines = ["platen", *(peer for peer in self.peers if peer != ORT or weights == "f32")]
        with contextlib.ExitStack() as stack:
            workers = {engine: stack.enter_context(self.start_engine(engine, weights, threads, sequences)) for engine in engines}
            limits = stack.enter_context(self.start("limits", [self.program("tools/bench/platen_limits"), "--threads", threads], threads))
            busy = self.watch.sample_idle()
            if busy > machine.BUSY_FRACTION:
                self.warn(f"{weights}, {threads} threads, {sequences} sequences: other programs used {100 * busy:.0f} % of the machine "
                          "when it began; its figures mean little")
            for phase in self.options.phases:
                measured = [engine for engine in engines if engine != ORT or phase == "decode"]
                case = self.case(weights, threads, sequences, phase, measured)
                self.cases.append(case)
                self.run_case(case, {engine: workers[engine] for engine in measured}, limits)
                speeds = ", ".join(f"{engine} {case.speed(engine):.1f}" for engine in measured)
                say(f"{weights}, {threads} threads, {sequences} sequences, {phase}: {speeds} tokens/s")

    def run(self) -> None:
        configurations = [(weights, threads, sequences) for weights in self.options.weights
                          for threads in self.options.threads for sequences in self.options.sequences]
        began = time.monotonic()
        for number, configuration in enumerate(configurations):
            left = (time.monotonic() - began) / number * (len(configurations) - number) if number else None
            say(f"configuration {number + 1} of {len(configurations)}" + (f", about {left / 60:.0f} min left" if left else ""))
            self.run_configuration(*configuration)

    # Reporting

    def warn(self, text: str) -> None:
        self.warnings.append(text)
        say(f"warning: {text}")

    def conditions(self) -> dict[str, str]:
        options, load = self.options, os.getloadavg()
        stolen = self.watch.stolen()
        facts = {
            "date": self.started.strftime("%Y-%m-%d %H:%M UTC"),
            "CPU": f"{machine.cpu_model()}, {len(self.cpus)} cores usable, last-level cache {machine.cache_bytes() >> 20} MiB",
            "threads": f"pinned to CPUs {', '.join(map(str, self.cpus[:max(options.threads)]))}, one a core, the same for all engines",
            "others": f"used at most {100 * self.watch.busiest:.0f} % of the machine before a configuration; the host took "
                      f"{100 * stolen:.0f} % of CPU time; load average at the end {load[0]:.2f}",
            "method": f"{options.repetitions} rounds behind one that is not counted, engines in turn; medians, ± half the range; "
                      f"prefill: {options.prompt} tokens a sequence; decode: {options.generate} tokens a sequence behind {options.depth}",
            "platen": f"{version()}, {self.descriptions.get('platen', {}).get('code_target', '?')}; whole engine steps, greedy sampling "
                      "included; keys and values as the plan says",
        }
        if PEER in self.descriptions:
            description = self.descriptions[PEER]
            if machine.has_avx512() and "AVX512" not in description["code"]:
                self.warn("this CPU has AVX-512, but the llama.cpp that was measured is built for AVX2: a build for this CPU may be faster")
            types = "; ".join(f"{weights}: {gguf_formats.FORMATS[weights]}" for weights in options.weights)
            facts[PEER] = (f"{description['version']} ({description['code']}); llama_decode() alone, no sampling; keys and values f16, "
                           f"other parameters its defaults; weights {types}")
        if ORT in self.descriptions:
            facts[ORT] = f"{self.descriptions[ORT]['version']}, f32 model.onnx, keys and values bound to outputs, no sampling"
        if stolen > machine.BUSY_FRACTION:
            self.warn(f"the host took {100 * stolen:.0f} % of CPU time")
        return facts

    def markdown(self, facts: dict[str, str]) -> str:
        lines = [markdown_table(self.cases, self.peers), "", "What the machine could do meanwhile:", "",
                 limits_table(self.cases, self.code), "", *(f"- {name}: {text}" for name, text in facts.items()),
                 *(f"- **warning**: {text}" for text in self.warnings)]
        return "\n".join(lines)

    def write_json(self, path: Path, facts: dict[str, str]) -> None:
        figures = {"conditions": facts, "warnings": self.warnings, "workers": self.descriptions,
                   "cases": [case.to_json() for case in self.cases if case.rounds]}
        partial = path.with_suffix(path.suffix + ".tmp")
        partial.write_text(json.dumps(figures, indent=1) + "\n")
        os.replace(partial, path)


def storage_of_inspect(facts: dict) -> Storage:
    """What a step of a plan reads, from `platen inspect --json`."""
    program = next(program for program in facts["programs"] if program["device"] == "host")
    caches = tuple(CacheBytes(cache["window"], cache["bytes_per_token"]) for cache in program["caches"])
    return Storage(program["reads"]["bytes_per_step"], program["reads"]["bytes_per_token"], caches)


def version() -> str:
    run = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True)
    return run.stdout.strip() or "unknown version"


def main(arguments: list[str] | None = None) -> int:
    options = parse_options(sys.argv[1:] if arguments is None else arguments)
    status = 0
    try:
        bench = Bench(options)
        bench.prepare()
    except KeyboardInterrupt:
        return 130
    except (BenchError, SourceError, HeaderError, OSError, ValueError) as error:
        say(f"error: {error}")
        return 1
    try:
        bench.run()
    except KeyboardInterrupt:
        bench.warn("interrupted: the last configurations are missing")
        status = 130
    except (BenchError, WorkerError) as error:
        bench.warn(f"stopped: {error}")
        status = 1
    if any(case.rounds for case in bench.cases):
        facts = bench.conditions()
        print(bench.markdown(facts))
        if options.json:
            bench.write_json(options.json, facts)
    return status


if __name__ == "__main__":
    sys.exit(main())
