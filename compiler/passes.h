// The one list of the compiler's MLIR passes, so that platen-opt and textual pipelines find them by
// name.
#pragma once

namespace platen::compiler {

/// Registers every pass of the compiler and the MLIR passes that its pipelines use (canonicalize,
/// cse). Call once a process, before pipelines are parsed.
void registerPasses();

} // namespace platen::compiler
