"""The `platen` command as a user meets it: a small model to text, and everything that can be wrong with the files on the way.

Every refusal must exit with 1, say a stable code and what is wrong, and leave no file behind. The model is exported by
models/gemma3 from random weights. CMake passes PLATEN (the command) and, if it knows one, PLATEN_GEMMA_DIR.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Callable
from pathlib import Path

import onnx

ROOT = Path(__file__).resolve().parents[2]
PLATEN = os.environ["PLATEN"]
GEMMA = os.environ.get("PLATEN_GEMMA_DIR")
CPU_FLAGS = Path("/proc/cpuinfo").read_text()
PROMPT = "the press prints the page"


def platen(*arguments: object, **options: object) -> subprocess.CompletedProcess:
    return subprocess.run([PLATEN, *map(str, arguments)], capture_output=True, text=True, timeout=300, **options)


def setUpModule() -> None:
    """One export and one plan for all tests, which only read them."""
    folder = tempfile.TemporaryDirectory()
    unittest.addModuleCleanup(folder.cleanup)
    CommandLine.export = Path(folder.name) / "export"
    CommandLine.plan = Path(folder.name) / "tiny.plan"
    subprocess.run([sys.executable, ROOT / "models/gemma3/export.py", "--output", CommandLine.export, "--tiny"],
                   check=True, capture_output=True)
    made = platen("compile", CommandLine.export / "model.onnx", "-o", CommandLine.plan, "--weights", "int8", "--context", 64)
    assert made.returncode == 0, made.stderr


class CommandLine(unittest.TestCase):
    export: Path
    plan: Path

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def assert_refused(self, done: subprocess.CompletedProcess, code: str, *texts: str) -> None:
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stderr, f"(?m)^platen: ({code}): ")
        message = done.stderr[done.stderr.index("platen: "):]
        for text in texts:
            self.assertIn(text, message)


class CompileRefuses(CommandLine):
    def refuse(self, code: str, *texts: str, change: Callable[[Path], None], options: tuple = ()) -> None:
        """Compiles a changed copy of the export over an older plan, which must survive."""
        model = self.folder / "model"
        shutil.rmtree(model, ignore_errors=True)
        shutil.copytree(self.export, model)
        change(model)
        output = self.folder / "out"
        output.mkdir(exist_ok=True)
        (output / "model.plan").write_bytes(b"an older plan")
        before = sorted(model.iterdir())
        done = platen("compile", model / "model.onnx", "-o", output / "model.plan", *options)
        self.assert_refused(done, code, *texts)
        self.assertEqual([path.name for path in output.iterdir()], ["model.plan"])
        self.assertEqual((output / "model.plan").read_bytes(), b"an older plan")
        self.assertEqual(sorted(model.iterdir()), before)

    def refuse_graph(self, code: str, *texts: str, change: Callable[[onnx.ModelProto], None]) -> None:
        def rewrite(model: Path) -> None:
            proto = onnx.load(model / "model.onnx", load_external_data=False)
            change(proto)
            (model / "model.onnx").write_bytes(proto.SerializeToString())

        self.refuse(code, *texts, change=rewrite)

    def test_external_data(self) -> None:
        data = "model.onnx.data"
        self.refuse("NOT_FOUND", data, "missing", change=lambda model: (model / data).unlink())
        self.refuse("CORRUPT", data, "truncated", change=lambda model: os.truncate(model / data, 100_000))
        self.refuse("CORRUPT", data, change=lambda model: os.truncate(model / data, 0))

        def leave_by_link(model: Path) -> None:
            os.rename(model / data, self.folder / "elsewhere")
            (model / data).symlink_to(self.folder / "elsewhere")

        self.refuse("INVALID_ARGUMENT", data, change=leave_by_link)

    def test_external_path_leaving_the_folder(self) -> None:
        def move(location: str) -> Callable[[onnx.ModelProto], None]:
            def change(proto: onnx.ModelProto) -> None:
                weight = next(tensor for tensor in proto.graph.initializer if tensor.external_data)
                next(entry for entry in weight.external_data if entry.key == "location").value = location
            return change

        self.refuse_graph("INVALID_ARGUMENT", "..", "model's folder", change=move("../model/model.onnx.data"))
        self.refuse_graph("INVALID_ARGUMENT", "/etc/passwd", change=move("/etc/passwd"))

    def test_invalid_and_cyclic_graphs(self) -> None:
        def middle(proto: onnx.ModelProto) -> onnx.NodeProto:
            return next(node for node in proto.graph.node if node.op_type == "MatMul")

        def undefined(proto: onnx.ModelProto) -> None:
            middle(proto).input[0] = "ghost"

        def cycle(proto: onnx.ModelProto) -> None:
            middle(proto).input[0] = middle(proto).output[0]

        self.refuse_graph("CORRUPT", "ghost", "MatMul", change=undefined)
        self.refuse_graph("CORRUPT", "cycle", "MatMul", change=cycle)

    def test_unsupported_operator(self) -> None:
        def rename(proto: onnx.ModelProto) -> None:
            node = next(node for node in proto.graph.node if node.op_type == "MatMul")
            node.name, node.op_type = "/layers.0/odd", "MatMull"

        self.refuse_graph("UNSUPPORTED", "'/layers.0/odd' (MatMull)", "nearest supported operator is MatMul", change=rename)

    def test_targets(self) -> None:
        def nothing(model: Path) -> None:
            pass

        self.refuse("INVALID_ARGUMENT", "'sm_70' is unknown", "sm_90a", "host", change=nothing, options=("--target", "host,sm_70"))
        # Without NVRTC there is no code for GPUs: said before any work, with what to install.
        os.environ["PLATEN_NVRTC"] = "/nowhere/libnvrtc.so"
        self.addCleanup(os.environ.pop, "PLATEN_NVRTC", None)
        self.refuse("NOT_FOUND", "target sm_80", "/nowhere/libnvrtc.so", "tools/setup --cuda", change=nothing,
                    options=("--target", "host,sm_80"))

    def test_files_that_are_no_models(self) -> None:
        name = "model.onnx"
        self.refuse("NOT_FOUND", name, change=lambda model: (model / name).unlink())
        self.refuse("CORRUPT", name, change=lambda model: (model / name).write_bytes(b""))
        self.refuse("CORRUPT", name, change=lambda model: (model / name).write_bytes(random.Random(1).randbytes(5000)))
        self.refuse("CORRUPT", name, change=lambda model: os.truncate(model / name, 30_000))
        self.refuse("CORRUPT", name, change=lambda model: shutil.copy(self.plan, model / name))

    def test_broken_tokenizers(self) -> None:
        name = "tokenizer.model"
        self.refuse("CORRUPT|UNSUPPORTED", name, change=lambda model: os.truncate(model / name, 1000))
        self.refuse("CORRUPT", name, change=lambda model: (model / name).write_bytes(random.Random(2).randbytes(3000)))

    def test_options(self) -> None:
        keep = lambda model: None  # noqa: E731
        self.refuse("INVALID_ARGUMENT", "int3", "int4", change=keep, options=("--weights", "int3"))
        self.refuse("INVALID_ARGUMENT", "z80", "x86-64-avx2", change=keep, options=("--target", "z80"))
        self.refuse("INVALID_ARGUMENT", "nowhere", "select", change=keep, options=("--stop-after", "nowhere"))

    def test_an_output_that_cannot_be_written(self) -> None:
        done = platen("compile", self.export / "model.onnx", "-o", self.folder / "none" / "model.plan")
        self.assert_refused(done, "NOT_FOUND", str(self.folder / "none"))
        done = platen("compile", self.export / "model.onnx", "-o", self.folder)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_errors_as_json(self) -> None:
        done = platen("compile", self.folder / "none.onnx", "--json")
        self.assertEqual(done.returncode, 1)
        error = json.loads(done.stderr.strip().splitlines()[-1])["error"]
        self.assertEqual(error["code"], "NOT_FOUND")
        self.assertIn("none.onnx", error["origin"] + error["message"])

    def test_interruption_leaves_nothing(self) -> None:
        output = self.folder / "out"
        output.mkdir()
        for phase in ("import", "serve", "emit"):
            process = subprocess.Popen([PLATEN, "compile", str(self.export / "model.onnx"), "-o", str(output / "a.plan"), "--json"],
                                       stderr=subprocess.PIPE, text=True)
            for line in process.stderr:
                if f'"{phase}"' in line:
                    process.send_signal(signal.SIGINT)
                    break
            rest = process.stderr.read()
            process.stderr.close()
            self.assertEqual(process.wait(timeout=60), 130, rest)
            self.assertIn("CANCELLED", rest)
            self.assertEqual(list(output.iterdir()), [])


class RunRefuses(CommandLine):
    def run_bytes(self, data: bytes) -> subprocess.CompletedProcess:
        path = self.folder / "a.plan"
        path.write_bytes(data)
        return platen("run", path, "-p", PROMPT, "-n", 1)

    def test_tune_says_what_it_needs_and_leaves_no_file(self) -> None:
        output = self.folder / "tuned.plan"
        nowhere = {**os.environ, "PLATEN_CUDA_DRIVER": "/nonexistent/libcuda.so.1"}
        self.assert_refused(platen("tune", self.plan, "-o", output, env=nowhere), "UNSUPPORTED", "there is no CUDA driver")
        self.assert_refused(platen("tune", self.plan, "-o", output, "--device", "host"), "INVALID_ARGUMENT", "cuda or cuda:N")
        self.assert_refused(platen("tune", self.folder / "no.plan", "-o", output), "NOT_FOUND", "no.plan")
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_plans_that_are_missing_truncated_or_changed(self) -> None:
        good = self.plan.read_bytes()
        self.assertEqual(self.run_bytes(good).returncode, 0)
        self.assert_refused(platen("run", self.folder / "none.plan", "-p", PROMPT), "NOT_FOUND", "none.plan")
        self.assert_refused(self.run_bytes(b""), "CORRUPT", "a.plan")
        self.assert_refused(self.run_bytes((self.export / "model.onnx").read_bytes()), "CORRUPT", "a.plan")
        self.assert_refused(self.run_bytes(good + b"\0"), "CORRUPT", "a.plan")
        draw = random.Random(3)
        for _ in range(20):
            self.assert_refused(self.run_bytes(good[:draw.randrange(len(good))]), "CORRUPT", "a.plan")
            changed = bytearray(good)
            changed[draw.randrange(len(good))] ^= 1 << draw.randrange(8)
            self.assert_refused(self.run_bytes(bytes(changed)), "CORRUPT", "a.plan")
            self.assertEqual(platen("inspect", self.folder / "a.plan").returncode, 1)

    @unittest.skipIf("avx512_bf16" in CPU_FLAGS, "this CPU runs every code that platen writes")
    def test_a_plan_without_code_for_this_cpu(self) -> None:
        plan = self.folder / "a.plan"
        self.assertEqual(platen("compile", self.export / "model.onnx", "-o", plan, "--target", "x86-64-avx512").returncode, 0)
        self.assert_refused(platen("run", plan, "-p", PROMPT), "UNSUPPORTED", "no code for this CPU", "x86-64-avx512 needs")
        self.assertEqual(platen("inspect", plan).returncode, 0)

    def test_a_prompt_longer_than_the_context(self) -> None:
        self.assert_refused(platen("run", self.plan, "-p", PROMPT * 40), "INVALID_ARGUMENT", "the context of 64 positions")
        self.assert_refused(platen("run", self.plan, "-p", PROMPT, "--ctx", 65), "INVALID_ARGUMENT", "context_tokens")

    def test_no_pages_left(self) -> None:
        done = platen("run", self.plan, "-p", PROMPT * 3, "--kv-bytes", "16kb")
        self.assert_refused(done, "RESOURCE_EXHAUSTED", "KV pages", "the whole pool has 1")
        self.assert_refused(platen("run", self.plan, "-p", PROMPT, "--kv-bytes", "1kb"), "INVALID_ARGUMENT", "one KV page takes")


class Runs(CommandLine):
    def test_same_text_again_and_as_json(self) -> None:
        text = platen("run", self.plan, "-p", PROMPT, "-n", 20, "--ignore-eos").stdout
        result = json.loads(platen("run", self.plan, "-p", PROMPT, "-n", 20, "--ignore-eos", "--json", "-t", 1).stdout)
        self.assertEqual(len(result["tokens"]), 20)
        self.assertEqual(result["text"].strip(), text.strip())

    def test_inspect_reads_what_compile_wrote(self) -> None:
        printed = platen("inspect", self.plan).stdout
        for text in ("int8", "x86-64-avx2", "x86-64-avx512", "64"):
            self.assertIn(text, printed)


@unittest.skipUnless(GEMMA and Path(GEMMA, "model.onnx").exists(), "needs the exported Gemma 3 270M (PLATEN_GEMMA_DIR)")
class FullModel(unittest.TestCase):
    LIMIT_BYTES = 500_000_000  # half of what is promised

    def test_compiles_in_half_a_gigabyte_besides_mapped_files(self) -> None:
        """The kernel refuses every private writable byte beyond the limit (RLIMIT_DATA), so this is a bound and no sample."""
        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_DATA, (self.LIMIT_BYTES, self.LIMIT_BYTES))

        with tempfile.TemporaryDirectory() as folder:
            for weights in ("f32", "int4"):
                done = platen("compile", Path(GEMMA, "model.onnx"), "-o", Path(folder, "gemma.plan"), "--weights", weights,
                              "--time", preexec_fn=limit)
                self.assertEqual(done.returncode, 0, done.stderr[-2000:])
                print(done.stdout)
                Path(folder, "gemma.plan").unlink()


if __name__ == "__main__":
    unittest.main()
