#!/usr/bin/env python3
"""layers.py must catch what it is there for, and leave alone what is allowed."""
import unittest

import layers

ALLOWED = [
    ("runtime/exec/executor.cpp", "runtime/device/device.h"),
    ("runtime/plan/codec.cpp", "google/protobuf/message_lite.h"),
    ("ops/ir/adaptor.h", "mlir/IR/Value.h"),
    ("kernels/host/ir.cpp", "runtime/plan/kernel_abi.h"),
    ("compiler/pipeline.cpp", "kernels/host/target.h"),
    ("tools/server/service_example.cpp", "runtime/engine/platen.h"),
    ("runtime/cache/cache_test.cpp", "gtest/gtest.h"),
    ("runtime/base/status.cpp", "vector"),
]
REFUSED = [
    ("runtime/device/device.h", "runtime/exec/executor.h"),
    ("runtime/plan/plan.h", "google/protobuf/message_lite.h"),
    ("runtime/engine/engine.cpp", "mlir/IR/Value.h"),
    ("ops/add/add.cpp", "mlir/IR/Value.h"),
    ("kernels/host/ir.cpp", "runtime/plan/plan.h"),
    ("kernels/packing.h", "compiler/pipeline.h"),
    ("compiler/pipeline.cpp", "runtime/engine/platen.h"),
    ("tools/server/service_example.cpp", "runtime/exec/executor.h"),
    ("runtime/cache/page_pool.cpp", "gtest/gtest.h"),
    ("runtime/device/cuda/driver.h", "cuda.h"),
    ("runtime/exec/executor.cpp", "nvrtc.h"),
]


class LayersTest(unittest.TestCase):
    def test_allowed(self):
        for path, header in ALLOWED:
            self.assertIsNone(layers.violation(path, header), f"{path} may include {header}")

    def test_refused(self):
        for path, header in REFUSED:
            self.assertIsNotNone(layers.violation(path, header), f"{path} must not include {header}")


if __name__ == "__main__":
    unittest.main()
