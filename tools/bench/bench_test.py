import contextlib
import io
import json
import os
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import numpy as np

import bench
import gguf_formats
import machine
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, dequantize
from gguf_header import GgufFile
from protocol import Task, Worker, WorkerError
from roofline import CacheBytes, Storage, Work

HERE = Path(__file__).resolve().parent
CPU = min(os.sched_getaffinity(0))
PREFILL = Task(2, 3, 0, (1, 2, 3, 4, 5, 6))


def fake(mode: str = "") -> Worker:
    return Worker("fake", [sys.executable, str(HERE / "fake_worker.py"), mode], [CPU])


class ProtocolTest(unittest.TestCase):
    def test_task_survives_its_line(self) -> None:
        for task in (PREFILL, Task(2, 3, 7, PREFILL.ids)):
            self.assertEqual(Task.parse(task.line()), task)
        self.assertEqual(PREFILL.prompt(1), (4, 5, 6))
        for line in ("sing 1 1 5", "prefill 2 3 1 2 3", "decode 1 1 4"):
            with self.assertRaises(ValueError, msg=line):
                Task.parse(line)

    def test_worker_answers(self) -> None:
        with fake() as worker:
            self.assertEqual(worker.description["engine"], "fake")
            self.assertEqual(worker.measure(PREFILL), 0.5)

    def test_failures_name_the_worker_and_its_message(self) -> None:
        with fake("fail") as worker, self.assertRaisesRegex(WorkerError, "fake: ValueError: no luck"):
            worker.measure(PREFILL)
        with fake("die") as worker, self.assertRaisesRegex(WorkerError, "fake ended with status 3: out of memory"):
            worker.measure(PREFILL)
        with self.assertRaisesRegex(WorkerError, "no JSON: 'hello"):
            fake("silent")
        with self.assertRaisesRegex(WorkerError, "nowhere.*No such file"):
            Worker("nowhere", ["/nonexistent/program"], [CPU])

    def test_time_for_other_tokens_than_asked_is_refused(self) -> None:
        with fake("count") as worker, self.assertRaisesRegex(WorkerError, "timed 1 tokens instead of 6"):
            worker.measure(PREFILL)


class MachineTest(unittest.TestCase):
    def test_cpu_lists(self) -> None:
        self.assertEqual(machine._cpus("0-2,5"), [0, 1, 2, 5])
        self.assertEqual(machine._cpus("3"), [3])

    def test_busy_and_stolen(self) -> None:
        before, after = [0] * 8, [30, 0, 10, 50, 5, 0, 0, 5]
        self.assertEqual(machine.busy_and_stolen(before, after), (0.45, 0.05))
        self.assertEqual(machine.busy_and_stolen(before, before), (0.0, 0.0))

    def test_pinned_cpus_are_allowed_ones(self) -> None:
        self.assertLessEqual(set(machine.one_cpu_a_core()), os.sched_getaffinity(0))


class FormatsTest(unittest.TestCase):
    """Writes each format of a small GGUF and reads it back with the gguf package's own reader."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.enterContext(contextlib.redirect_stderr(io.StringIO()))  # progress
        numbers = np.random.default_rng(1)
        self.tensors = {"token_embd.weight": numbers.standard_normal((40, 64), np.float32),
                        "blk.0.attn_q.weight": numbers.standard_normal((33, 64), np.float32),
                        "output_norm.weight": numbers.standard_normal(64, np.float32)}
        self.source = self.folder / "tiny-source.gguf"
        writer = GGUFWriter(self.source, "gemma3")
        writer.add_file_type(15)
        writer.add_array("tokenizer.ggml.tokens", ["a", "b", "ä"])
        for name, values in self.tensors.items():
            writer.add_tensor(name, values)
        for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
            step()

    def test_every_format_keeps_values_metadata_and_types(self) -> None:
        for name, form in gguf_formats.FORMATS.items():
            with self.subTest(name):
                path = gguf_formats.ensure(self.source, name, self.folder)
                self.assertEqual(path.name, f"tiny-{name}.gguf")
                reader = GGUFReader(path)
                self.assertEqual(reader.get_field("general.file_type").contents(), form.file_type)
                self.assertEqual(reader.get_field("tokenizer.ggml.tokens").contents(), ["a", "b", "ä"])
                for tensor in reader.tensors:
                    values = self.tensors[tensor.name]
                    expected = (GGMLQuantizationType.F32 if values.ndim == 1 else
                                form.embedding if tensor.name == gguf_formats.EMBEDDING else form.matrices)
                    self.assertEqual(tensor.tensor_type, expected)
                    error = np.abs(dequantize(tensor.data, tensor.tensor_type).reshape(values.shape) - values).max()
                    self.assertLessEqual(error, {"F32": 0, "BF16": 0.016, "Q8_0": 0.02, "Q4_0": 0.3}[expected.name])

    def test_an_interrupted_file_leaves_nothing(self) -> None:
        with mock.patch("gguf_formats.quantize", side_effect=KeyboardInterrupt), self.assertRaises(KeyboardInterrupt):
            gguf_formats.ensure(self.source, "int8", self.folder)
        self.assertEqual([path.name for path in self.folder.iterdir()], ["tiny-source.gguf"])

    def test_metadata_is_copied_byte_by_byte(self) -> None:
        source, copy = GgufFile(self.source), GgufFile(gguf_formats.ensure(self.source, "f32", self.folder))
        self.addCleanup(source.close)
        self.addCleanup(copy.close)
        key = b"general.file_type" + struct.pack("<I", 4)
        self.assertEqual(source.stored_metadata.replace(key + struct.pack("<I", 15), key + struct.pack("<I", 0)), copy.stored_metadata)


def program(variable: str) -> str:
    """A built program that ctest names; the test is skipped without it."""
    path = os.environ.get(variable)
    if not path:
        raise unittest.SkipTest(f"{variable} is not set")
    return path


class ProgramsTest(unittest.TestCase):
    """The real workers, on a small plan."""

    def test_limits_are_measured(self) -> None:
        with Worker("limits", [program("PLATEN_LIMITS"), "--bytes", "1048576"], [CPU]) as limits:
            self.assertEqual(limits.description["stream_bytes"], 1 << 20)
            for name in ("stream", *bench.PEAK.values()):
                answer = limits.ask(name)
                self.assertGreater(answer["per_second"], 1e8, name)
                self.assertIn("v", answer["code"])
            with self.assertRaisesRegex(WorkerError, "no measurement 'sleep'"):
                limits.ask("sleep")

    def test_engine_times_what_it_is_told(self) -> None:
        model = Path(os.environ.get("PLATEN_SHARED", "")) / "fixtures/tiny/tiny-llama3-optimum/model.onnx"
        if not model.exists():
            self.skipTest("the shared fixtures are missing")
        with tempfile.TemporaryDirectory() as folder:
            plan = Path(folder) / "tiny.plan"
            subprocess.run([program("PLATEN"), "compile", model, "-o", plan, "--no-tokenizer"], check=True, capture_output=True)
            facts = json.loads(subprocess.run([program("PLATEN"), "inspect", "--json", plan], check=True, capture_output=True).stdout)
            storage = bench.storage_of_inspect(facts)
            weights = sum(packing["bytes"] for packing in facts["weights"].values())
            self.assertTrue(0 < storage.step_bytes <= weights, facts["programs"])
            self.assertGreater(storage.token_bytes, 0)  # a row of the embedding
            self.assertEqual(len(storage.caches), facts["layers"])
            with Worker("platen", [program("PLATEN_BENCH"), str(plan), "--threads", "1", "--sequences", "2"], [CPU]) as worker:
                self.assertEqual(worker.description["device"], f"host, 1 thread(s) on CPU {CPU}")
                self.assertGreater(worker.measure(PREFILL), 0)
                self.assertGreater(worker.measure(Task(2, 3, 5, PREFILL.ids)), 0)
                with self.assertRaisesRegex(WorkerError, "2 token ids follow, but 2 prompts of 3 tokens need 6"):
                    worker.ask("prefill 2 3 1 2")
                self.assertEqual(worker.ask("decode 1 1 4 7")["steps"], 4)
            missing = [program("PLATEN_BENCH"), str(plan) + ".none"]
            with self.assertRaisesRegex(WorkerError, "platen: NOT_FOUND"):
                Worker("platen", missing, [CPU])


class DriverTest(unittest.TestCase):
    def test_storage_of_inspect(self) -> None:
        facts = {"programs": [{"device": "host", "reads": {"bytes_per_step": 1000, "bytes_per_token": 10},
                               "caches": [{"window": 512, "bytes_per_token": 8}, {"window": 0, "bytes_per_token": 8}]}]}
        storage = bench.storage_of_inspect(facts)
        self.assertEqual(storage, Storage(1000, 10, (CacheBytes(512, 8), CacheBytes(0, 8))))
        self.assertEqual(storage.context_bytes(600), 8 * (512 + 600))

    def test_bad_options_are_refused(self) -> None:
        for arguments in (["--weights", "int3"], ["--threads", "0"], ["--phases", "sleep"], ["--repetitions", "many"]):
            with self.assertRaises(SystemExit, msg=str(arguments)), mock.patch("sys.stderr"):
                bench.parse_options(arguments)

    def test_missing_programs_are_named(self) -> None:
        with tempfile.TemporaryDirectory() as folder, mock.patch("bench.say") as said:
            source = mock.patch("gguf_formats.source_gguf"), mock.patch("gguf_formats.model_of")
            with source[0], source[1]:
                self.assertEqual(bench.main(["--build", folder, "--cache", folder, "--threads", "1"]), 1)
        self.assertRegex(said.call_args.args[0], "platen is missing: build it")

    def run_with_fakes(self, folder: str, end: str = "") -> tuple[int, str, Path]:
        """A whole run in which every program is a fake; the second configuration fails, or is interrupted, if `end` says so."""
        path, started = Path(folder) / "figures.json", []

        class FakeLimits:
            def __enter__(self): return self
            def __exit__(self, *exception): pass
            def ask(self, line): return {"per_second": 1e9, "code": "fake"}

        def start(self, name, command, threads, environment=None):
            if name == "limits":
                return FakeLimits()
            started.append(name)
            if end == "interrupt" and len(started) > 2:
                raise KeyboardInterrupt
            self.descriptions[name] = {"version": "1", "code": "-", "code_target": "-"}
            return fake(end if len(started) > 2 else "")

        def prepare(self):
            self.storage = self.gguf_storage = {"int8": Storage(10**9, 0, ())}
            self.plans, self.ggufs = {"int8": "p"}, {"int8": "g"}
            self.model = mock.sentinel.model

        with mock.patch.multiple("bench.Bench", start=start, prepare=prepare, program=lambda self, name: name), \
                mock.patch("bench.prefill", return_value=Work(1e8, 0)), mock.patch("bench.decode", return_value=Work(1e8, 0)), \
                mock.patch("builtins.print") as printed:
            status = bench.main(["--weights", "int8", "--threads", "1", "--sequences", "1,8", "--repetitions", "2", "--json", str(path)])
        output = [call.args[0] for call in printed.call_args_list if call.kwargs.get("file") is None]
        return status, "\n".join(output), path

    def test_a_run_prints_table_and_conditions(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            status, output, path = self.run_with_fakes(folder)
            self.assertEqual(status, 0)
            self.assertIn("| int8 | 1 | 8 | decode | 2048 ±0 % | 2048 ±0 % | 1.00 | 20 % memory | 20 % memory |", output)
            self.assertRegex(output, "- CPU: .+\n- threads: pinned to CPUs")
            figures = json.loads(path.read_text())
            self.assertEqual(len(figures["cases"]), 4)
            self.assertEqual(figures["cases"][3]["engines"]["platen"]["rounds"], [2048.0, 2048.0])

    def test_a_failure_or_interrupt_keeps_what_is_finished_and_says_so(self) -> None:
        for end, expected, warning in (("fail", 1, "stopped: fake: ValueError: no luck"), ("interrupt", 130, "interrupted")):
            with self.subTest(end), tempfile.TemporaryDirectory() as folder:
                status, output, path = self.run_with_fakes(folder, end)
                self.assertEqual(status, expected)
                self.assertIn("| int8 | 1 | 1 | decode |", output)
                self.assertNotIn("| int8 | 1 | 8 |", output)
                self.assertIn(f"**warning**: {warning}", output)
                self.assertEqual(len(json.loads(path.read_text())["cases"]), 2)


if __name__ == "__main__":
    unittest.main()
