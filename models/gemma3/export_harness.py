"""What the tests of this folder share: running an export inside the test's process, in a folder that goes away."""

from __future__ import annotations

import contextlib
import io
import tempfile
import unittest
from pathlib import Path

import onnxruntime

import export


def run_export(*arguments) -> tuple[int, str]:
    """Exit status and stderr of an export in this process."""
    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr):
        status = export.main([str(argument) for argument in arguments])
    return status, stderr.getvalue()


def open_session(folder: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])


class TemporaryFolder(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
