# Finds LLVM/MLIR 19 and the ONNX schema. MLIR and LLVM are linked as shared libraries; static archives of
# MLIR are never mixed with libMLIR.so (two copies of LLVM in one process crash).
find_package(MLIR 19.1 REQUIRED CONFIG HINTS /usr/lib/llvm-19)
list(APPEND CMAKE_MODULE_PATH "${MLIR_CMAKE_DIR}" "${LLVM_CMAKE_DIR}")
include(TableGen)
include(AddLLVM)
include(AddMLIR)
separate_arguments(PLATEN_LLVM_DEFINITIONS NATIVE_COMMAND ${LLVM_DEFINITIONS})

add_library(platen_mlir INTERFACE)
target_include_directories(platen_mlir SYSTEM INTERFACE ${LLVM_INCLUDE_DIRS} ${MLIR_INCLUDE_DIRS})
target_compile_definitions(platen_mlir INTERFACE ${PLATEN_LLVM_DEFINITIONS})
target_link_libraries(platen_mlir INTERFACE MLIR LLVM)
platen_headers(platen_mlir_headers DEPS platen_mlir HEADERS
  <mlir/Bytecode/BytecodeOpInterface.h> <mlir/Dialect/Func/IR/FuncOps.h> <mlir/IR/Builders.h> <mlir/IR/BuiltinOps.h>
  <mlir/IR/IRMapping.h> <mlir/IR/PatternMatch.h> <mlir/IR/Verifier.h> <mlir/Parser/Parser.h> <mlir/Pass/PassManager.h>
  <mlir/Transforms/GreedyPatternRewriteDriver.h>)

# onnx-ml.proto ships inside the Python package `onnx`; PLATEN_ONNX_PROTO may point to any copy of it.
find_package(Python3 COMPONENTS Interpreter)
if(NOT PLATEN_ONNX_PROTO)
  execute_process(
    COMMAND ${Python3_EXECUTABLE} -c
            "import importlib.util, os; print(os.path.join(importlib.util.find_spec('onnx').submodule_search_locations[0], 'onnx-ml.proto'))"
    OUTPUT_VARIABLE onnx_proto OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  set(PLATEN_ONNX_PROTO "${onnx_proto}" CACHE FILEPATH "onnx-ml.proto of the Python package onnx" FORCE)
endif()
if(NOT EXISTS "${PLATEN_ONNX_PROTO}")
  message(FATAL_ERROR "onnx-ml.proto not found. Run tools/setup, or configure with "
                      "-DPython3_EXECUTABLE=<python that has onnx> or -DPLATEN_ONNX_PROTO=<file>.")
endif()
