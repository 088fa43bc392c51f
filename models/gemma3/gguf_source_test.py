"""Tests of reading GGUF files, whole and broken.

Files are written by the `gguf` package, and what we read is compared with what its own reader reads.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import unittest
from pathlib import Path

import gguf
import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).resolve().parent))

import to_hf  # noqa: E402
from export_harness import TemporaryFolder, run_export  # noqa: E402
from sentencepiece_model import PieceType  # noqa: E402
from tiny import TinyModel  # noqa: E402


def small_shapes(hidden: int, heads: int, size: int, forward: int) -> dict[str, tuple[int, ...]]:
    """Tensors of two layers under the GGUF's names, outermost axis first."""
    shapes = {"token_embd": (512, hidden), "output_norm": (hidden,)}
    for layer in range(2):
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in {
            "attn_norm": (hidden,), "attn_q": (heads * size, hidden), "attn_k": (size, hidden),
            "attn_v": (size, hidden), "attn_q_norm": (size,), "attn_k_norm": (size,),
            "attn_output": (hidden, heads * size), "post_attention_norm": (hidden,), "ffn_norm": (hidden,),
            "ffn_gate": (forward, hidden), "ffn_up": (forward, hidden), "ffn_down": (hidden, forward),
            "post_ffw_norm": (hidden,)}.items()}
    return shapes


def small_gguf(path: Path, **changes) -> None:
    """A whole Gemma 3 GGUF of two layers, written by the gguf package; `changes` break it in one place."""
    writer = gguf.GGUFWriter(path, changes.get("architecture", "gemma3"))
    hidden, heads, size, forward = 64, 2, 32, 96
    pieces = TinyModel(1).pieces()
    writer.add_context_length(128)
    writer.add_embedding_length(changes.get("embedding_length", hidden))
    writer.add_block_count(changes.get("layers", 2))
    writer.add_feed_forward_length(forward)
    writer.add_head_count(changes.get("heads", heads))
    writer.add_head_count_kv(2 if "heads" in changes else 1)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    if "scaling" in changes:
        writer.add_rope_scaling_type(gguf.RopeScalingType(changes["scaling"]))
    if "window" not in changes.get("without", ()):
        writer.add_sliding_window(16)
    writer.add_tokenizer_model(changes.get("tokenizer", "llama"))
    kept = pieces[:changes.get("tokens", len(pieces))]
    writer.add_token_list([piece.text.replace("▁", " ") if piece.type == PieceType.USER_DEFINED else piece.text
                           for piece in kept])
    writer.add_token_scores([piece.score for piece in kept])
    writer.add_token_types([int(piece.type) for piece in kept])
    for add, token in ((writer.add_pad_token_id, 0), (writer.add_eos_token_id, 1), (writer.add_bos_token_id, 2),
                       (writer.add_unk_token_id, 3)):
        add(token)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    random = np.random.default_rng(3)
    for name, shape in small_shapes(hidden, heads, size, forward).items():
        if name in changes.get("without", ()):
            continue
        values = random.uniform(0.5, 1, shape).astype(np.float32) if len(shape) == 1 else \
            random.normal(0, 0.1, shape).astype(np.float32)
        if len(shape) == 1:
            writer.add_tensor(f"{name}.weight", values)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(f"{name}.weight", gguf.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Gguf(TemporaryFolder):
    """Exports from GGUF files."""

    def refused(self, path: Path, message: str) -> None:
        status, stderr = run_export("--gguf", path, "--output", self.folder / "out")
        self.assertEqual(status, 1, stderr)
        self.assertRegex(stderr.splitlines()[-1], f"^export: error: .*{path.name}.*{message}")
        self.assertFalse((self.folder / "out").exists())

    def test_whole_file_exports_what_gguf_reader_reads(self) -> None:
        path, output = self.folder / "small.gguf", self.folder / "out"
        small_gguf(path)
        self.assertEqual(run_export("--gguf", path, "--output", output)[0], 0)
        model = onnx.load(output / "model.onnx")
        found = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        read = {tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type)
                for tensor in gguf.GGUFReader(path).tensors}
        np.testing.assert_array_equal(found["model.embed_tokens.weight"], read["token_embd.weight"])
        np.testing.assert_array_equal(found["model.norm.weight"], read["output_norm.weight"])
        for ours, theirs in (("self_attn.q_proj", "attn_q"), ("self_attn.o_proj", "attn_output"),
                             ("mlp.down_proj", "ffn_down"), ("mlp.gate_proj", "ffn_gate"), ("mlp.up_proj", "ffn_up")):
            np.testing.assert_array_equal(found[f"model.layers.1.{ours}.MatMul.weight"],
                                          read[f"blk.1.{theirs}.weight"].T)
        tiny = self.folder / "tiny"
        run_export("--tiny", "--output", tiny)
        self.assertEqual((output / "tokenizer.model").read_bytes(), (tiny / "tokenizer.model").read_bytes())

    def test_checkpoint_for_other_exporters(self) -> None:
        path, output = self.folder / "small.gguf", self.folder / "hf"
        small_gguf(path)
        with contextlib.redirect_stderr(io.StringIO()):
            self.assertEqual(to_hf.main(["--gguf", str(path), "--output", str(output)]), 0)
        raw = (output / "model.safetensors").read_bytes()
        start = 8 + int.from_bytes(raw[:8], "little")
        entries = json.loads(raw[8:start])
        read = {tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type)
                for tensor in gguf.GGUFReader(path).tensors}

        def values(name: str) -> np.ndarray:
            first, last = entries[name]["data_offsets"]
            return np.frombuffer(raw[start + first:start + last], np.float32).reshape(entries[name]["shape"])

        np.testing.assert_array_equal(values("model.layers.0.mlp.up_proj.weight"), read["blk.0.ffn_up.weight"])
        np.testing.assert_array_equal(values("model.norm.weight") + 1, read["output_norm.weight"])
        config = json.loads((output / "config.json").read_text())
        self.assertEqual(config["layer_types"], ["sliding_attention"] * 2)

    def test_broken_files_are_refused_by_name(self) -> None:
        cases = {"architecture 'llama' is not known": ({"architecture": "llama"}, "architecture is 'llama'"),
                 "no window": ({"without": ("window",)}, "sliding_window is missing"),
                 "no tensor": ({"without": ("blk.1.ffn_up",)}, "tensor blk.1.ffn_up.weight is missing"),
                 "other shape": ({"embedding_length": 128}, r"has shape \(512, 64\), .* \(512, 128\)"),
                 "heads": ({"heads": 3}, "3 heads, 2 key/value heads"),
                 "layers": ({"layers": 2**31}, "tensor blk.2147483647.attn_norm.weight is missing"),
                 "no layers": ({"layers": 0}, "block_count is 0, but must be positive"),
                 "scaled": ({"scaling": "linear"}, "RoPE scaling 'linear' is not supported"),
                 "tokenizer": ({"tokenizer": "gpt2"}, "tokenizer 'gpt2' is not SentencePiece"),
                 "tokens": ({"tokens": 300}, "300 tokens, 300 scores and 300 types for an embedding of 512 rows")}
        for name, (changes, message) in cases.items():
            with self.subTest(name):
                small_gguf(self.folder / "broken.gguf", **changes)
                self.refused(self.folder / "broken.gguf", message)

    def test_truncation_anywhere_is_refused(self) -> None:
        whole = self.folder / "whole.gguf"
        small_gguf(whole)
        raw = whole.read_bytes()
        cuts = [0, 3, 4, 7, 8, 23, 24, 40, 100, 2000, 6000, 12000, len(raw) // 2, len(raw) - 4096]
        for cut in cuts:
            with self.subTest(cut):
                (self.folder / "cut.gguf").write_bytes(raw[:cut])
                self.refused(self.folder / "cut.gguf", "truncated|not a GGUF file")

    def test_other_files_are_refused(self) -> None:
        (self.folder / "model.gguf").write_bytes(b"\x08\x0a" * 5000)
        self.refused(self.folder / "model.gguf", "not a GGUF file")
        (self.folder / "model.gguf").write_bytes(b"GGUF" + (9).to_bytes(4, "little") + bytes(100))
        self.refused(self.folder / "model.gguf", "GGUF version 9 is not supported")
        self.refused(self.folder / "absent.gguf", "no such file")

    def test_wild_lengths_are_refused(self) -> None:
        head = b"GGUF" + (3).to_bytes(4, "little") + (0).to_bytes(8, "little") + (1).to_bytes(8, "little")
        key = (1).to_bytes(8, "little") + b"k"
        array = key + (9).to_bytes(4, "little") + (4).to_bytes(4, "little") + (2**62).to_bytes(8, "little")
        nested = key + (9).to_bytes(4, "little") + ((9).to_bytes(4, "little") + (1).to_bytes(8, "little")) * 5000
        for tail in (b"\xff" * 8, key + (99).to_bytes(4, "little"), array, nested):
            (self.folder / "wild.gguf").write_bytes(head + tail + bytes(64))
            self.refused(self.folder / "wild.gguf", "truncated|unknown|array of arrays")

    def test_metadata_of_another_kind_are_refused(self) -> None:
        path = self.folder / "kind.gguf"
        small_gguf(path)
        raw = bytearray(path.read_bytes())
        at = raw.index(b"gemma3.block_count") + len(b"gemma3.block_count")
        raw[at:at + 4] = int(gguf.GGUFValueType.FLOAT32).to_bytes(4, "little")
        path.write_bytes(raw)
        self.refused(path, "gemma3.block_count should be a int")


if __name__ == "__main__":
    unittest.main()
