#!/usr/bin/env python3
"""Enforces who may include whom (ARCHITECTURE.md, "Rooms").

Reads every #include "..." and <...> of the tree's C++ files and checks it against RULES: the first rule whose pattern
matches the including file's path decides. Exit status 1 and one line for each include that breaks its rule.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROOMS = ("runtime", "ops", "kernels", "compiler", "tools", "tests")
RUNTIME = [f"runtime/{room}/" for room in ("base", "plan", "device", "cache", "text", "schedule", "exec", "decode", "engine")]
FOREIGN = {  # names of foreign families, by how their headers begin
    "mlir": ("mlir/", "llvm/"),
    "onnx": ("onnx",),
    "protobuf": ("google/protobuf",),
    "xxhash": ("xxhash",),
    "json": ("nlohmann/",),
    "cli": ("CLI/", "fmt/"),
    "boost": ("boost/",),
    "cuda": ("cuda", "nvrtc", "nvfatbin", "nvJitLink", "nvPTXCompiler"),
    "test": ("gtest/", "gmock/"),
}


def upto(room):
    """The rooms of the runtime up to and including `room`, in dependency order."""
    return tuple(RUNTIME[: RUNTIME.index(f"runtime/{room}/") + 1])


PLAIN_OPS = ("ops/",)
API = ("runtime/engine/platen", "runtime/engine/graph.h")
# (pattern of the including file, prefixes of our own headers it may include, foreign families it may include)
RULES = [
    (r"tools/server/", ("tools/server/", "runtime/engine/platen"), ("boost", "json")),
    (r"tools/cli/run", ("tools/cli/", "tools/npy/", *API, "runtime/base/status.h"), ("cli", "json")),
    (r"tools/npy/", ("tools/npy/", "runtime/base/"), ()),
    (r"tools/bench/", ("runtime/engine/platen", "runtime/base/status.h"), ("json",)),
    (r"runtime/base/", upto("base"), ()),
    (r"runtime/plan/.*\.cpp$", upto("plan"), ("protobuf", "xxhash")),
    (r"runtime/plan/", upto("plan"), ()),
    (r"runtime/device/", upto("device"), ()),
    (r"runtime/cache/", upto("cache"), ()),
    (r"runtime/text/", (*upto("plan"), "runtime/text/"), ()),
    (r"runtime/schedule/", (*upto("cache"), "runtime/schedule/"), ()),
    (r"runtime/exec/", upto("exec"), ()),
    (r"runtime/decode/", (*upto("schedule"), "runtime/decode/"), ()),
    (r"runtime/engine/", upto("engine"), ()),
    (r"ops/ir/", ("runtime/base/", "ops/"), ("mlir",)),
    (r"ops/", ("runtime/base/", "ops/"), ()),
    (r"kernels/host/", ("runtime/base/", "runtime/plan/kernel_abi.h", "ops/", "kernels/"), ("mlir",)),
    (r"kernels/", ("runtime/base/", "runtime/plan/kernel_abi.h", "ops/", "kernels/"), ()),
    (r"compiler/", ("runtime/base/", "runtime/plan/", "ops/", "kernels/", "compiler/"),
     ("mlir", "onnx", "protobuf", "xxhash", "json")),
    (r"tools/", tuple(f"{room}/" for room in ROOMS), tuple(FOREIGN)),
    (r"tests/", tuple(f"{room}/" for room in ROOMS), tuple(FOREIGN)),
]
TEST_FOREIGN = ("test", "json", "mlir", "protobuf", "onnx")
TEST_PATTERN = re.compile(r"(_test|_fuzz|_main|_harness)\.(cpp|h)$|/conformance/|_testing\.h$")


def family(header):
    return next((name for name, starts in FOREIGN.items() if header.startswith(starts)), None)


def violation(path, header):
    """Why `path` may not include `header`, or None."""
    _, own, foreign = next(rule for rule in RULES if re.match(rule[0], path))
    is_test = TEST_PATTERN.search(path) is not None
    if header.startswith(tuple(f"{room}/" for room in ROOMS)):
        # A room's tests may look further: at what lowers or runs the thing that they test.
        return None if is_test or header.startswith(own) else f"may include only {', '.join(own)}"
    name = family(header)
    if name is None or name in foreign or (is_test and name in (*TEST_FOREIGN, *foreign)):
        return None
    return f"may not use {name}"


def main():
    count, bad = 0, 0
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*")):
            if path.suffix not in (".h", ".cpp"):
                continue
            name = path.relative_to(ROOT).as_posix()
            for number, line in enumerate(path.read_text().splitlines(), 1):
                match = re.match(r'\s*#\s*include\s+["<]([^">]+)[">]', line)
                if not match:
                    continue
                count += 1
                why = violation(name, match.group(1))
                if why:
                    bad += 1
                    print(f"{name}:{number}: includes {match.group(1)}, but this room {why}")
    print(f"layers: {count} includes read, {bad} against the rules")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
