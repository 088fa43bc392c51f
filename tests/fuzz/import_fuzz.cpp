// libFuzzer target: any bytes given to the importer, then to platen-fold, end in a Status or a
// verified module.
//
// The corpus is best seeded with small ONNX files (tests/fuzz/CMakeLists.txt says how). Weights
// beyond the input do not exist here, so external data always ends in an error.
#include "compiler/import/fold.h"
#include "compiler/import/importer.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassManager.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  using namespace platen;
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  mlir::ScopedDiagnosticHandler quiet(&context, [](mlir::Diagnostic &) { return mlir::success(); });
  std::span bytes(reinterpret_cast<const std::byte *>(data), size);
  auto imported = compiler::importOnnxBytes(bytes, nullptr, "fuzz.onnx", "/nonexistent", context);
  if (!imported) {
    if (imported.status().code() == base::StatusCode::kInternal)
      std::abort(); // a broken invariant, by definition of the code
    return 0;
  }
  mlir::PassManager passes(&context);
  passes.addPass(compiler::createFoldPass());
  (void)passes.run(*imported->module); // a model may contradict itself only after refinement
  return 0;
}
