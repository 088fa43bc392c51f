#!/usr/bin/env python3
"""Refuses what does not belong into the tree: binaries, paths of one machine, folders called utils or common,
files far above the size that can be read in one sitting. Exit status 1 and one line for each finding."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
LONGEST = 700  # lines of one C++ file
FORBIDDEN = [
    (re.compile(r"/(work|root|home/\w+)/\w"), "a path of one machine"),
    (re.compile(r"/tmp/" r"venv"), "a path of one machine"),
    (re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b"), "unfinished work"),
]


def findings(name):
    path = ROOT / name
    if {"utils", "common"} & set(pathlib.PurePosixPath(name).parts):
        yield "a folder called utils or common"
    data = path.read_bytes()
    if b"\0" in data:
        yield "a binary file"
        return
    text = data.decode()
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, what in FORBIDDEN:
            if pattern.search(line):
                yield f"line {number}: {what}: {line.strip()[:80]}"
    if name.endswith((".h", ".cpp")) and text.count("\n") > LONGEST:
        yield f"{text.count(chr(10))} lines; cut it"


def main():
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\n")
    bad = 0
    for name in filter(None, names):
        for finding in findings(name):
            bad += 1
            print(f"{name}: {finding}")
    print(f"words: {len(names) - 1} files read, {bad} findings")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
