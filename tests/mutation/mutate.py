#!/usr/bin/env python3
"""Mutation testing of the CUDA kernels: does the conformance test see each of the faults of mutants.json?

A mutant is an edit of a kernel template (a barrier dropped, a wait one too lax, a mask off by one) or of a field of
the launch (the box of a tensor map, bytes of shared memory). For each, the
conformance test runs the mutant's requests on the PTX simulator (earliest, latest and random asynchrony) with the
edited source, first the kernels that the edit reaches, then, if nothing failed, all candidates of the requests, so
that bits are compared between kernels. A mutant is
  killed by its result      a comparison with the reference or with another kernel failed
  killed by a violation     race, uninitialised read, out of bounds, deadlock, hang, illegal instruction
  killed by counters        it names a counter, and that rose (faults that cost time alone)
  survived                  nothing failed; the list must say why: the mutant is equivalent, or (beyond_simulator) it is a
                            true fault that the simulator cannot show, which no run here vouches for
Before that the unmutated kernels must pass in the same way; otherwise nothing would be said by a failure.

Exit status: 0 if at least 95 % of the mutants are killed, no survivor lacks an explanation and no explained survivor
is killed; 1 if not; 2 if the run is void (a baseline that fails, a text that is not there, a mutant that does not
compile or reaches no kernel); 77 if the CUDA compiler is missing.

  mutate.py --test build/…/cuda_conformance_test                    all mutants
  mutate.py --test … --sample 8 --seed 1                            a sample
  mutate.py --test … --only attention- --only prefill-no-wait       those whose names begin so
"""
import argparse
import collections
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import random
import re
import resource
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
VIOLATIONS = ("out-of-bounds", "uninitialised-read", "misaligned", "shared-race", "global-race", "deadlock", "hang",
              "illegal-instruction", "trap")
COUNTERS = {"waves": (1, 0), "matrix": (2, None), "sectors": (3, None)}  # column of the log, and what it is divided by
RISE = 1.02  # of a counter that kills
TIMEOUT_S = 420


class Void(Exception):
    """The run says nothing about the mutants."""


@dataclasses.dataclass
class Outcome:
    passed: bool
    skipped: bool
    message: str  # of the first failure
    log: list  # lines of the conformance test's mutant log, split
    seconds: float


def conform(arguments, filters, mutant, architecture, everything, count):
    """Runs the conformance test with the mutant's edits."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        folder = pathlib.Path(folder)
        for i, edit in enumerate(mutant["edits"]):
            (folder / f"find{i}").write_text(edit["find"])
            (folder / f"replace{i}").write_text(edit["replace"])
        if "launch" in mutant:
            (folder / "launch").write_text(mutant["launch"])
        if everything:
            (folder / "all").touch()
        if count:
            (folder / "count").touch()
        environment = dict(os.environ, PLATEN_CUDA_MUTANT=str(folder), PLATEN_CUDA_ARCHITECTURES=architecture)
        started = time.monotonic()
        command = [arguments.test, f"--gtest_filter={':'.join(filters)}", "--gtest_fail_fast",
                   f"--gtest_output=json:{folder}/result.json"]
        try:
            ran = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 text=True, errors="replace", timeout=TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired as late:
            raise Void(f"{' '.join(filters)} took more than {TIMEOUT_S} s") from late
        seconds = time.monotonic() - started
        log = folder / "log"
        lines = [line.split(" ", 2) for line in log.read_text().splitlines()] if log.exists() else []
        if not (folder / "result.json").exists():
            return Outcome(False, False, "the test died: " + ran.stdout[-500:], lines, seconds)
        report = json.loads((folder / "result.json").read_text())
    tests = [test for suite in report["testsuites"] for test in suite["testsuite"]]
    if not tests:
        raise Void(f"no test is called {' or '.join(filters)}")
    failures = [failure["failure"] for test in tests for failure in test.get("failures", [])]
    skipped = all(test.get("result") == "SKIPPED" for test in tests)
    return Outcome(not failures and ran.returncode == 0, skipped, failures[0] if failures else "", lines, seconds)


def kill_of(message):
    """How a failure killed the mutant: a violation's name, or `result`."""
    found = re.search(r"(?:^|[\s\"])[A-Za-z_]\w*: (" + "|".join(VIOLATIONS) + "): kernel", message)
    return found.group(1) if found else "result"


def order_of(message):
    found = re.search(r"\b(earliest|latest|random\d+)\b", message)
    return found.group(1) if found else ""


def counter_of(outcome, counter):
    column, divisor = COUNTERS[counter]
    rows = [[int(word) for word in line[2].split()] for line in outcome.log if line[0] == "counted"]
    total = sum(row[column] for row in rows)
    return total if divisor is None else total / max(1, sum(row[divisor] for row in rows))


def check_text(mutant):
    text = (ROOT / mutant["file"]).read_text()
    for edit in mutant["edits"]:
        times = text.count(edit["find"])
        if times != edit["times"]:
            raise Void(f"{mutant['name']}: {mutant['file']} holds {edit['find']!r} {times} times, not {edit['times']}")


def check_edited(mutant, architecture, outcome):
    """The edit reached kernels, each as often as the template holds the text, and they compiled."""
    where = f"{mutant['name']} on {architecture}"
    edited = [line for line in outcome.log if line[0] == "edited"]
    wanted = 1 if "launch" in mutant else sum(edit["times"] for edit in mutant["edits"])
    if not edited:
        raise Void(f"{where}: no kernel of its requests holds the text")
    for _, kernel, times in edited:
        if int(times) != wanted:
            raise Void(f"{where}: {kernel} holds the text {times} times, not {wanted}: other templates hold it too")
    for line in outcome.log:
        if line[0] == "refused":
            raise Void(f"{where}: {line[1]} does not compile, or the simulator refuses it: {' '.join(line[2:])}")
    if not any(line[0] == "compiled" for line in outcome.log):
        raise Void(f"{where}: no kernel ran: {outcome.message or 'the test passed'}")


def test_mutant(arguments, data, mutant, baselines):
    """The mutant's row of the report."""
    row = {"name": mutant["name"], "kind": mutant["kind"], "file": mutant["file"], "verdict": "survived", "by": "",
           "architecture": "", "order": "", "message": "", "seconds": 0.0}
    try:
        run_mutant(arguments, data, mutant, baselines, row)
    except Void as why:
        row.update(verdict="void", message=str(why))
    return row


def run_mutant(arguments, data, mutant, baselines, row):
    for architecture in mutant.get("architectures", ["sm_80"]):
        filters = [data["requests"][name].format(architecture=architecture) for name in mutant["requests"]]
        counter = mutant.get("counter")
        for everything in (False, True):
            outcome = conform(arguments, filters, mutant, architecture, everything, counter is not None)
            row["seconds"] += outcome.seconds
            check_edited(mutant, architecture, outcome)
            if not outcome.passed:
                row.update(verdict="killed", by=kill_of(outcome.message), architecture=architecture,
                           order=order_of(outcome.message), message=outcome.message.strip()[:1500])
                return
            if counter is not None:  # counted over the kernels that the edit reaches
                usual = baselines[(architecture, tuple(sorted(mutant["requests"])), counter, mutant["name"])]
                here = counter_of(outcome, counter)
                row.update(counters={"name": counter, "usual": usual, "mutant": here})
                if here > usual * RISE:
                    row.update(verdict="killed", by="counters", architecture=architecture)
                return


def baseline(arguments, data, mutants, workers):
    """The unmutated kernels pass; returns their counters for the mutants that need them."""
    runs = collections.OrderedDict()  # (architecture, request) -> nothing
    for mutant in mutants:
        for architecture in mutant.get("architectures", ["sm_80"]):
            for request in mutant["requests"]:
                runs[(architecture, request)] = None

    def one(key):
        architecture, request = key
        return key, conform(arguments, [data["requests"][request].format(architecture=architecture)], {"edits": []},
                            architecture, True, False)
    for (architecture, request), outcome in workers.map(one, runs):
        if outcome.skipped:
            print("skipped: the CUDA compiler is missing (tools/setup --cuda)")
            sys.exit(77)
        print(f"baseline {architecture} {request}: {'passes' if outcome.passed else 'FAILS'}, {outcome.seconds:.1f} s",
              flush=True)
        if not outcome.passed:
            raise Void(f"the unmutated kernels fail:\n{outcome.message}")

    # An edit that changes nothing confines the run to the same kernels as the mutant's.
    counted = [m for m in mutants if m.get("counter")]

    def count(mutant):
        architecture = mutant.get("architectures", ["sm_80"])[0]
        filters = [data["requests"][name].format(architecture=architecture) for name in mutant["requests"]]
        same = [{"find": edit["find"], "replace": edit["find"]} for edit in mutant["edits"]]
        outcome = conform(arguments, filters, {"edits": same}, architecture, False, True)
        key = (architecture, tuple(sorted(mutant["requests"])), mutant["counter"], mutant["name"])
        return key, counter_of(outcome, mutant["counter"])
    return dict(workers.map(count, counted))


def chosen(data, arguments):
    mutants = data["mutants"]
    if arguments.only:
        mutants = [m for m in mutants if any(m["name"].startswith(prefix) for prefix in arguments.only)]
        if not mutants:
            raise Void(f"no mutant's name begins with {' or '.join(arguments.only)}")
    if arguments.sample:  # from as many templates as possible, and then from as many kinds of fault
        mutants = [m for m in mutants if "counter" not in m and "explanation" not in m]
        random.Random(arguments.seed).shuffle(mutants)
        of_file, of_kind = collections.Counter(), collections.Counter()
        drawn = []
        while mutants and len(drawn) < arguments.sample:
            mutant = min(mutants, key=lambda m: (of_file[m["file"]], of_kind[m["kind"]]))
            mutants.remove(mutant)
            of_file[mutant["file"]] += 1
            of_kind[mutant["kind"]] += 1
            drawn.append(mutant)
        mutants = drawn
    return mutants


def report(rows, mutants, arguments, started):
    explained = {m["name"] for m in mutants if "explanation" in m and "counter" not in m}
    beyond = {m["name"] for m in mutants if m.get("beyond_simulator")}
    killed = [row for row in rows if row["verdict"] == "killed"]
    wrong = []
    for row in rows:
        if row["verdict"] == "void":
            wrong.append(row["message"])
        if row["verdict"] == "survived" and row["name"] not in explained:
            wrong.append(f"{row['name']} survived, and the list does not explain it")
        if row["verdict"] == "killed" and row["name"] in explained:
            wrong.append(f"{row['name']} is explained as a survivor, but was killed by {row['by']}")
    rate = len(killed) / len(rows)
    if rate < 0.95:
        wrong.append(f"the kill rate is {rate:.1%}, less than 95 %")
    for row in rows:
        by = f"killed by {row['by']}" if row["verdict"] == "killed" else (
            "VOID" if row["verdict"] == "void" else
            "SURVIVED" if row["name"] not in explained else
            "survived (beyond simulator)" if row["name"] in beyond else "survived (equivalent)")
        print(f"{row['name']:48} {row['kind']:28} {by:32} {row['architecture']:8} {row['order']:9} "
              f"{row['seconds']:6.1f} s")
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = usage.ru_utime + usage.ru_stime
    print()
    kinds = sorted({row["kind"] for row in rows})
    print(f"{'kind of fault':32} {'mutants':>8} {'killed':>8}")
    for kind in kinds:
        of_kind = [row for row in rows if row["kind"] == kind]
        print(f"{kind:32} {len(of_kind):8} {sum(row['verdict'] == 'killed' for row in of_kind):8}")
    print()
    for by, count in collections.Counter(row["by"] for row in killed).most_common():
        print(f"killed by {by:22} {count:8}")
    survivors = {row["name"] for row in rows if row["verdict"] == "survived"}
    print(f"survived, equivalent {len((survivors & explained) - beyond):11}")
    print(f"survived, beyond simulator {len(survivors & beyond):5}")
    print(f"kill rate {len(killed)}/{len(rows)} = {rate:.1%}; {cpu:.0f} CPU-seconds, "
          f"{time.monotonic() - started:.0f} s")
    for line in wrong:
        print("error: " + line)
    if arguments.json:
        summary = {"mutants": len(rows), "killed": len(killed), "rate": rate, "cpu_seconds": round(cpu, 1),
                   "errors": wrong, "rows": rows}
        pathlib.Path(arguments.json).write_text(json.dumps(summary, indent=1) + "\n")
    return 2 if any(row["verdict"] == "void" for row in rows) else 1 if wrong else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--test", required=True, help="the program cuda_conformance_test")
    parser.add_argument("--list", default=str(ROOT / "tests/mutation/mutants.json"))
    parser.add_argument("--only", action="append", default=[], help="a beginning of names")
    parser.add_argument("--sample", type=int, default=0, help="how many mutants to draw")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", help="where to write the report")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    if os.environ.get("PLATEN_MUTATION") == "all":
        arguments.sample = 0
    started = time.monotonic()
    try:
        data = json.loads(pathlib.Path(arguments.list).read_text())
        for mutant in data["mutants"]:
            check_text(mutant)
        mutants = chosen(data, arguments)
        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as workers:
            baselines = baseline(arguments, data, mutants, workers)
            rows = []
            for row in workers.map(lambda m: test_mutant(arguments, data, m, baselines), mutants):
                rows.append(row)
                if not arguments.sample:
                    print(f"{len(rows)}/{len(mutants)} {row['name']}: {row['verdict']} {row['by']} {row['order']} "
                          f"({row['seconds']:.1f} s)", flush=True)
    except Void as why:
        print(f"void: {why}")
        return 2
    return report(rows, mutants, arguments, started)


if __name__ == "__main__":
    sys.exit(main())
