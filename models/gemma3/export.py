#!/usr/bin/env python3
"""Exports Gemma 3 to ONNX: GGUF in, a folder with model.onnx, its weights in f32 and its tokenizer out.

    export.py --output DIR                  Gemma 3 270M from the installed pip package
    export.py --output DIR --gguf FILE      any text-only Gemma 3 GGUF without RoPE scaling
    export.py --output DIR --tiny           a small random model of the same graph, for tests

Needs `onnx`, `numpy` and `gguf`. Costs about 1.1 GB of disk for 270M (and 0.25 GB while it runs) and little memory:
weights go from the GGUF to the data file block by block. The same input gives the same bytes. Files get their names
only when all are whole; whatever stops the export leaves the folder as it was.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from decoder_graph import DecoderConfig, all_weights, build_model
from gguf_source import GgufModel, SourceError, assemble_from_packages
from progress import Progress
from sentencepiece_model import encode_model
from tiny import TinyModel

DATA_FILE = "model.onnx.data"
ALIGNMENT_BYTES = 4096
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
SPARE_BYTES = 64 << 20  # graph, tokenizer and slack
ASSEMBLED_BYTES = 253 << 20  # GGUF joined from the packages, while the export runs
OUTPUT_FILES = (DATA_FILE, "tokenizer.model", "generation_config.json", "model.onnx")  # the last one makes it an export


def place_weights(config: DecoderConfig) -> tuple[dict[str, int], int]:
    """Offset of each weight in the data file (bytes, by name) and the size of the file."""
    offsets, end = {}, 0
    for weight in all_weights(config):
        offsets[weight.name] = -(-end // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        end = offsets[weight.name] + weight.size_bytes
    return offsets, end


def require_space(folder: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise SourceError(f"{folder}: {free >> 20} MiB free, the export needs {needed_bytes >> 20} MiB")


def write_weights(model, path: Path) -> dict[str, int]:
    """Streams every weight to `path` and returns the offsets."""
    offsets, size = place_weights(model.config)
    require_space(path.parent, size + SPARE_BYTES)
    with open(path, "wb") as out, Progress("weights", size) as progress:
        for weight in all_weights(model.config):
            padding = offsets[weight.name] - out.tell()
            out.write(bytes(padding))
            for block in model.blocks(weight):
                out.write(block.data)
                progress.advance(block.nbytes)
                model.forget_pages()
            progress.advance(padding)
            if out.tell() != offsets[weight.name] + weight.size_bytes:
                raise AssertionError(f"{weight.name}: wrote up to byte {out.tell()}, not its whole size")
    return offsets


def write_tokenizer(model, folder: Path) -> None:
    ids = model.special_ids()
    tokenizer = encode_model(model.pieces(), ids, model.add_dummy_prefix())
    (folder / "tokenizer.model").write_bytes(tokenizer)
    settings = {"add_bos": model.add_bos(), "bos_token_id": ids.bos, "context_length": model.config.context_length,
                "eos_token_id": ids.eos, "pad_token_id": ids.pad}
    (folder / "generation_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def write_model(model, folder: Path) -> None:
    """Everything a finished export holds, into `folder`."""
    offsets = write_weights(model, folder / DATA_FILE)
    print("tokenizer", file=sys.stderr, flush=True)
    write_tokenizer(model, folder)
    print("graph", file=sys.stderr, flush=True)
    proto = build_model(model.config, DATA_FILE, offsets)
    (folder / "model.onnx").write_bytes(proto.SerializeToString(deterministic=True))


@contextmanager
def workspace(output: Path) -> Iterator[Path]:
    """A folder inside `output`, gone when the block ends, however it ends; so is `output` if it was not there."""
    if output.exists() and not output.is_dir():
        raise SourceError(f"{output}: exists and is not a folder: name another one with --output")
    made = [path for path in (output, *output.parents) if not path.exists()]
    output.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".export-", dir=output))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for path in made:
            if not any(path.iterdir()):
                path.rmdir()


def publish(folder: Path, output: Path, names: tuple[str, ...]) -> None:
    """Gives the finished files their names. The last one goes first if it is an old one: it never meets new others."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # renaming takes no time: a stop waits until it is through
    try:
        (output / names[-1]).unlink(missing_ok=True)
        for name in names:
            os.replace(folder / name, output / name)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


@contextmanager
def open_source(arguments: argparse.Namespace, folder: Path) -> Iterator[GgufModel]:
    """The GGUF that was named, or the one that the pip packages ship, joined inside `folder`."""
    path = arguments.gguf
    if path is None:
        path = folder / "assembled.gguf"
        require_space(folder, ASSEMBLED_BYTES)
        with Progress("joining the GGUF", ASSEMBLED_BYTES) as progress:
            assemble_from_packages(path, progress.advance)
    print("reading the GGUF's metadata", file=sys.stderr, flush=True)
    model = GgufModel(path)
    try:
        yield model
    finally:
        model.close()


def export(arguments: argparse.Namespace) -> None:
    with workspace(arguments.output) as folder:
        if arguments.tiny:
            write_model(TinyModel(arguments.seed), folder)
        else:
            with open_source(arguments, folder) as model:
                write_model(model, folder)
        publish(folder, arguments.output, OUTPUT_FILES)
    print(f"wrote {arguments.output / 'model.onnx'}", file=sys.stderr)


def add_source_arguments(parser: argparse.ArgumentParser):
    """Arguments that every script here has; returns the group of sources, of which one may be named."""
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write; made if missing")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--gguf", type=Path, metavar="FILE", help="GGUF to read instead of the pip package's")
    return source


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_source_arguments(parser).add_argument("--tiny", action="store_true", help="write the small random model")
    parser.add_argument("--seed", type=int, default=1, help="seed of --tiny (default 1)")
    arguments = parser.parse_args(argv)
    if not 0 <= arguments.seed < 2**32:
        parser.error("--seed must be between 0 and 2^32 - 1")
    return arguments


def run(name: str, action: Callable[[argparse.Namespace], None], arguments: argparse.Namespace) -> int:
    """Runs `action` and turns what goes wrong into one line on stderr and an exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        action(arguments)
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130
    except (SourceError, ValueError, OSError) as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        return 1
    return 0


def main(argv: list[str] | None = None) -> int:
    return run("export", export, parse_arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
