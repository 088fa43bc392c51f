# Finds the compiler's .mlir tests beside the passes that they test.
import os

import lit.formats

ROOMS = ("compiler", "ops")

config.name = "platen"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir"]
config.test_source_root = config.platen_source_dir
config.excludes = [name for name in os.listdir(config.platen_source_dir) if name not in ROOMS]
config.test_exec_root = os.path.join(config.platen_binary_dir, "tests", "lit", "out")
config.environment["PATH"] = os.pathsep.join(config.platen_tool_dirs + [os.environ["PATH"]])
config.substitutions.append(("%shared", config.platen_shared))
if os.path.isdir(config.platen_shared):
    config.available_features.add("shared")
