"""Tests of the exporter on the tiny model: graph, files, tokenizer, perplexity's arithmetic.

Graphs are judged by ONNX's checker and run by ONNX Runtime, beside a decoder in plain numpy that knows no graph;
tokenizers are read by `sentencepiece`.
"""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
import onnx
import sentencepiece

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import export  # noqa: E402
import perplexity  # noqa: E402
from export_harness import TemporaryFolder, open_session, run_export  # noqa: E402
from progress import Progress  # noqa: E402
from sentencepiece_model import Piece, PieceType, SpecialIds, encode_model  # noqa: E402
from tiny import CONFIG as TINY  # noqa: E402
from tiny import TinyModel  # noqa: E402


class TinyGraph(unittest.TestCase):
    """The tiny model as ONNX Runtime sees it."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = Path(cls.temporary.name)
        status, cls.stderr = run_export("--tiny", "--output", cls.folder)
        assert status == 0, cls.stderr
        cls.session = open_session(cls.folder)
        cls.ids = np.random.default_rng(7).integers(4, TINY.vocabulary, 40)  # longer than the window

    @classmethod
    def tearDownClass(cls) -> None:
        cls.temporary.cleanup()

    def run_step(self, ids, cache: dict[str, np.ndarray], mask=None, positions=None) -> tuple[np.ndarray, dict]:
        """Logits [b, s, v] and the grown cache."""
        ids = np.atleast_2d(ids)
        past = next(iter(cache.values())).shape[2]
        if mask is None:
            mask = np.ones((ids.shape[0], past + ids.shape[1]), np.int64)
        if positions is None:
            positions = np.broadcast_to(np.arange(past, past + ids.shape[1]), ids.shape)
        names = [output.name for output in self.session.get_outputs()]
        values = self.session.run(names, {"input_ids": ids, "attention_mask": mask,
                                          "position_ids": np.ascontiguousarray(positions), **cache})
        grown = {name.replace("present", "past_key_values"): value for name, value in zip(names[1:], values[1:])}
        return values[0], grown

    @staticmethod
    def empty_cache(batch: int = 1) -> dict[str, np.ndarray]:
        shape = (batch, TINY.kv_heads, 0, TINY.head_size)
        return {f"past_key_values.{layer}.{part}": np.zeros(shape, np.float32)
                for layer in range(TINY.layers) for part in ("key", "value")}

    def test_checker_accepts_the_graph(self) -> None:
        onnx.checker.check_model(self.folder / "model.onnx", full_check=True)

    def test_only_ordinary_operators(self) -> None:
        model = onnx.load(self.folder / "model.onnx", load_external_data=False)
        self.assertEqual({node.domain for node in model.graph.node}, {""})
        self.assertEqual([(opset.domain, opset.version) for opset in model.opset_import], [("", 21)])

    def test_embedding_is_tied_with_the_head(self) -> None:
        model = onnx.load(self.folder / "model.onnx", load_external_data=False)
        readers = [node.op_type for node in model.graph.node if "model.embed_tokens.weight" in node.input]
        self.assertEqual(sorted(readers), ["Gather", "Transpose"])

    def test_weights_are_aligned_and_apart(self) -> None:
        model = onnx.load(self.folder / "model.onnx", load_external_data=False)
        end = 0
        for tensor in model.graph.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                place = {entry.key: entry.value for entry in tensor.external_data}
                self.assertEqual(place["location"], "model.onnx.data")
                self.assertEqual(int(place["offset"]) % 4096, 0)
                self.assertGreaterEqual(int(place["offset"]), end)
                end = int(place["offset"]) + int(place["length"])
        self.assertEqual(end, (self.folder / "model.onnx.data").stat().st_size)

    def test_equals_a_plain_numpy_decoder(self) -> None:
        logits, _ = self.run_step(self.ids, self.empty_cache())
        np.testing.assert_allclose(logits[0], numpy_decoder(self.ids), rtol=0, atol=2e-4)

    def test_decoding_step_by_step_equals_prefill(self) -> None:
        whole, whole_cache = self.run_step(self.ids, self.empty_cache())
        cache, rows = self.empty_cache(), []
        for first, last in ((0, 5), (5, 24), *((i, i + 1) for i in range(24, 40))):
            logits, cache = self.run_step(self.ids[first:last], cache)
            rows.append(logits[0])
        np.testing.assert_allclose(np.concatenate(rows), whole[0], rtol=0, atol=2e-5)
        for name, value in cache.items():
            np.testing.assert_allclose(value, whole_cache[name], rtol=0, atol=2e-5)

    def test_left_padding_changes_nothing(self) -> None:
        alone, _ = self.run_step(self.ids[:20], self.empty_cache())
        ids = np.stack([np.concatenate([np.zeros(6, np.int64), self.ids[:20]]), self.ids[:26]])
        mask = np.ones(ids.shape, np.int64)
        mask[0, :6] = 0
        positions = np.stack([np.maximum(np.arange(26) - 6, 0), np.arange(26)])
        both, _ = self.run_step(ids, self.empty_cache(batch=2), mask, positions)
        np.testing.assert_allclose(both[0, 6:], alone[0], rtol=0, atol=2e-5)

    def test_sampling_sees_more_than_one_token(self) -> None:
        logits, _ = self.run_step(self.ids, self.empty_cache())
        self.assertGreater(len(set(logits[0].argmax(-1))), 10)

    def test_tokenizer_round_trips(self) -> None:
        tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(self.folder / "tokenizer.model"))
        self.assertEqual(tokenizer.vocab_size(), TINY.vocabulary)
        self.assertEqual((tokenizer.pad_id(), tokenizer.eos_id(), tokenizer.bos_id(), tokenizer.unk_id()), (0, 1, 2, 3))
        for text in ("the press prints", "  two  spaces\n\n", "naïve 你好 🙂", "<start_of_turn>the<end_of_turn>"):
            self.assertEqual(tokenizer.decode(tokenizer.encode(text)), text)
        self.assertEqual([tokenizer.id_to_piece(token) for token in tokenizer.encode("      \n\n")],
                         ["▁▁▁▁", "▁▁", "\n\n"])
        self.assertLess(len(tokenizer.encode("the press prints the page")), 12)
        self.assertEqual(tokenizer.id_to_piece(tokenizer.encode("🙂")), ["<0xF0>", "<0x9F>", "<0x99>", "<0x82>"])

    def test_generation_config(self) -> None:
        settings = json.loads((self.folder / "generation_config.json").read_text())
        self.assertEqual(settings, {"add_bos": True, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0,
                                    "context_length": 256})


def numpy_decoder(ids: np.ndarray) -> np.ndarray:
    """Logits [s, v] of the tiny model in f64, written from the model's definition, with no cache and no graph."""
    config, model = TINY, TinyModel(1)
    weights = {weight.name: next(model.blocks(weight)).astype(np.float64) for weight in export.all_weights(config)}

    def norm(x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + config.rms_epsilon) * weights[name]

    def rope(x, base):
        half = config.head_size // 2
        angles = np.arange(len(ids))[:, None] * base ** (-np.arange(half) / half)
        cos, sin, low, high = np.cos(angles), np.sin(angles), x[..., :half], x[..., half:]
        return np.concatenate([low * cos - high * sin, high * cos + low * sin], -1)

    def heads(x, count):
        return x.reshape(len(ids), count, config.head_size).transpose(1, 0, 2)

    distance = np.arange(len(ids))[:, None] - np.arange(len(ids))
    x = weights["model.embed_tokens.weight"][ids] * config.hidden**0.5
    for layer in range(config.layers):
        p = f"model.layers.{layer}."
        is_global = layer == 2
        base = 1e6 if is_global else 1e4
        h = norm(x, p + "input_layernorm.weight")
        q = heads(h @ weights[p + "self_attn.q_proj.MatMul.weight"], config.heads)
        k = heads(h @ weights[p + "self_attn.k_proj.MatMul.weight"], config.kv_heads)
        v = heads(h @ weights[p + "self_attn.v_proj.MatMul.weight"], config.kv_heads)
        q = rope(norm(q, p + "self_attn.q_norm.weight"), base)
        k = rope(norm(k, p + "self_attn.k_norm.weight"), base)
        k, v = (np.repeat(part, config.heads // config.kv_heads, axis=0) for part in (k, v))
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(config.head_size)
        scores = np.where((distance >= 0) & (is_global | (distance < config.window)), scores, -np.inf)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        h = (scores / scores.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(len(ids), -1)
        x = x + norm(h @ weights[p + "self_attn.o_proj.MatMul.weight"], p + "post_attention_layernorm.weight")
        h = norm(x, p + "pre_feedforward_layernorm.weight")
        gate = h @ weights[p + "mlp.gate_proj.MatMul.weight"]
        gate = 0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))
        h = (gate * (h @ weights[p + "mlp.up_proj.MatMul.weight"])) @ weights[p + "mlp.down_proj.MatMul.weight"]
        x = x + norm(h, p + "post_feedforward_layernorm.weight")
    return norm(x, "model.norm.weight") @ weights["model.embed_tokens.weight"].T


class Output(TemporaryFolder):
    """What the exporter leaves behind."""

    def contents(self, folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    def test_same_input_gives_same_bytes(self) -> None:
        for name in ("a", "b"):
            self.assertEqual(run_export("--tiny", "--output", self.folder / name)[0], 0)
        self.assertEqual(self.contents(self.folder / "a"), self.contents(self.folder / "b"))
        self.assertEqual(sorted(self.contents(self.folder / "a")), sorted(export.OUTPUT_FILES))

    def test_seed_changes_weights_only(self) -> None:
        run_export("--tiny", "--output", self.folder / "a")
        run_export("--tiny", "--seed", "2", "--output", self.folder / "b")
        a, b = self.contents(self.folder / "a"), self.contents(self.folder / "b")
        self.assertEqual([name for name in a if a[name] != b[name]], ["model.onnx.data"])

    def test_failure_leaves_an_earlier_export_alone(self) -> None:
        output = self.folder / "out"
        run_export("--tiny", "--output", output)
        before = self.contents(output)
        status, stderr = run_export("--gguf", self.folder / "none.gguf", "--output", output)
        self.assertEqual((status, self.contents(output)), (1, before))
        self.assertIn("none.gguf: no such file", stderr)

    def test_failure_leaves_no_new_folder(self) -> None:
        self.assertEqual(run_export("--gguf", self.folder / "none.gguf", "--output", self.folder / "a" / "b")[0], 1)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_output_that_is_a_file_is_refused(self) -> None:
        (self.folder / "file").write_text("mine")
        status, stderr = run_export("--tiny", "--output", self.folder / "file")
        self.assertEqual(status, 1)
        self.assertIn("exists and is not a folder", stderr)
        self.assertEqual((self.folder / "file").read_text(), "mine")

    def test_interrupt_leaves_nothing(self) -> None:
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            # The child stops itself in the middle of the weights: no race with its start or its end.
            code = ("import os, signal, sys; sys.path.insert(0, sys.argv[1]); import export, tiny\n"
                    "blocks = tiny.TinyModel.blocks\n"
                    "def stop(self, weight):\n"
                    f"    if 'layers.1' in weight.name: os.kill(os.getpid(), {int(number)})\n"
                    "    return blocks(self, weight)\n"
                    "tiny.TinyModel.blocks = stop\n"
                    "sys.exit(export.main(['--tiny', '--output', sys.argv[2]]))")
            child = subprocess.run([sys.executable, "-c", code, HERE, self.folder / "out"], capture_output=True)
            self.assertEqual(child.returncode, status, child.stderr.decode())
            self.assertEqual(list(self.folder.iterdir()), [])

    def test_too_little_space_is_said_before_writing(self) -> None:
        with self.assertRaisesRegex(export.SourceError, "MiB free, the export needs"):
            export.require_space(self.folder, 1 << 60)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class ProgressLines(unittest.TestCase):
    def test_plain_lines_and_bar(self) -> None:
        for stream in (io.StringIO(), Terminal()):
            with Progress("weights", 1000, stream) as progress:
                for _ in range(100):
                    progress.advance(10)
            text = stream.getvalue()
            self.assertIn("weights: 100 %", text)
            self.assertEqual("\r" in text, stream.isatty())
            self.assertTrue(text.endswith("\n"))
            self.assertLessEqual(text.count("\n"), 11)


class SentencePieceFile(unittest.TestCase):
    def test_missing_bytes_and_ids_are_refused(self) -> None:
        pieces = TinyModel(1).pieces()
        ids = TinyModel(1).special_ids()
        with self.assertRaisesRegex(ValueError, "byte fallback needs 256 byte pieces, 1 are missing: <0x41>"):
            encode_model([piece for piece in pieces if piece.text != "<0x41>"], ids)
        with self.assertRaisesRegex(ValueError, "bos id 512 is outside"):
            encode_model(pieces, SpecialIds(pad=0, eos=1, bos=512, unk=3))

    def test_scores_and_types_reach_sentencepiece(self) -> None:
        pieces = TinyModel(1).pieces()
        tokenizer = sentencepiece.SentencePieceProcessor(model_proto=encode_model(pieces, TinyModel(1).special_ids()))
        for index, piece in enumerate(pieces):
            found = Piece(tokenizer.id_to_piece(index), tokenizer.get_score(index), piece.type)
            self.assertEqual(found, piece)
            self.assertEqual(tokenizer.is_byte(index), piece.type == PieceType.BYTE)
            self.assertEqual(tokenizer.is_control(index), piece.type == PieceType.CONTROL)
            self.assertEqual(tokenizer.is_unknown(index), piece.type == PieceType.UNKNOWN)


class Perplexity(unittest.TestCase):
    def test_sums_over_windows(self) -> None:
        """A model that always gives token t the logit t: its perplexity is known."""
        test = self

        class Session:
            def get_inputs(self):
                return []

            def run(self, names, feed):
                test.assertLessEqual(feed["input_ids"].shape[1], 3)
                test.assertEqual(feed["input_ids"][0, 0], 9)
                return [np.broadcast_to(np.arange(10, dtype=np.float32), (1, feed["input_ids"].shape[1], 10))]

        ids = [1, 2, 3, 4, 5, 6, 7]
        log_sum = np.log(np.exp(np.arange(10)).sum())
        expected = np.exp(np.mean([log_sum - token for token in ids]))
        self.assertAlmostEqual(perplexity.perplexity(Session(), ids, bos=9, window=4), expected, places=6)

if __name__ == "__main__":
    unittest.main()
