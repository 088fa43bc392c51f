"""Tests of Gemma 3 270M itself: recorded tokens of the framework, recorded token ids, the figure in the README.

They run where the model's pip packages and the shared fixtures are, and are counted as skipped elsewhere.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
import onnx
import sentencepiece

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import perplexity  # noqa: E402
from export_harness import open_session, run_export  # noqa: E402
from gguf_source import PACKAGE  # noqa: E402

SHARED = Path(os.environ.get("PLATEN_SHARED") or HERE.parents[2] / "shared")
GREEDY = SHARED / "fixtures" / "gemma3-270m-greedy-fp32.json"
VECTORS = SHARED / "fixtures" / "gemma3-tokenizer-vectors.json"
HAS_FULL_MODEL = importlib.util.find_spec(PACKAGE) is not None and GREEDY.is_file() and VECTORS.is_file()
SURE_MARGIN = 0.001  # where the two best logits are closer, rounding may decide


@unittest.skipUnless(HAS_FULL_MODEL, f"needs the pip package {PACKAGE.replace('_', '-')} and {GREEDY.parent}")
class FullModel(unittest.TestCase):
    """Gemma 3 270M itself."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = Path(cls.temporary.name)
        status, stderr = run_export("--output", cls.folder)
        assert status == 0, stderr
        cls.tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(cls.folder / "tokenizer.model"))

    @classmethod
    def tearDownClass(cls) -> None:
        cls.temporary.cleanup()

    def test_tokenizer_equals_the_recorded_vectors(self) -> None:
        for vector in json.loads(VECTORS.read_text()):
            self.assertEqual(self.tokenizer.encode(vector["text"]), vector["ids"], vector["text"])

    def test_greedy_tokens_equal_the_recorded_ones(self) -> None:
        """Teacher-forced: one pass per prompt, the argmax after each prefix is the recorded token."""
        session = open_session(self.folder)
        prompts = json.loads(GREEDY.read_text())["prompts"]
        self.assertEqual(len(prompts), 8)
        for prompt in prompts:
            with self.subTest(prompt["name"]):
                self.assertEqual([2] + self.tokenizer.encode(prompt["prompt"]), prompt["prompt_ids"])
                feed = perplexity.feed_for(session, prompt["prompt_ids"] + prompt["tokens"][:-1])
                logits = session.run(["logits"], feed)[0][0, len(prompt["prompt_ids"]) - 1:]
                sure = np.array(prompt["margins"]) > SURE_MARGIN
                np.testing.assert_array_equal(logits.argmax(-1)[sure], np.array(prompt["tokens"])[sure])
                best = np.sort(logits, axis=-1)[:, -2:]
                np.testing.assert_allclose(best[:, 1] - best[:, 0], prompt["margins"], rtol=0, atol=SURE_MARGIN)

    def test_perplexity_is_the_one_in_the_readme(self) -> None:
        stated = re.search(r"^\| `export\.py` \| (\d+\.\d+) \|$", (HERE / "README.md").read_text(), re.MULTILINE)
        ids = self.tokenizer.encode((HERE / "perplexity.txt").read_text(encoding="utf-8"))
        self.assertGreaterEqual(len(ids), 2500)
        found = perplexity.perplexity(open_session(self.folder), ids, bos=2, window=1024)
        self.assertAlmostEqual(found, float(stated[1]), delta=0.001)

    def test_checker_accepts_the_graph(self) -> None:
        onnx.checker.check_model(self.folder / "model.onnx")


if __name__ == "__main__":
    unittest.main()
