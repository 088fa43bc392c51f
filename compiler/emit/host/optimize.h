// LLVM's middle end for kernels whose builders leave loops to it (loops of graphs): hoisting,
// unrolling of short loops, vectorisation.
//
// The list of passes is our own. Nothing may become a call (no loop turns into memset or memcpy, no
// libm function is known), and only the loop vectoriser may regroup additions that a builder marked
// `reassoc`: the marks are removed after it, so that no copy of a loop is regrouped otherwise and
// results depend on the loop's count alone.
#pragma once

namespace llvm {
class Module;
class TargetMachine;
} // namespace llvm

namespace platen::compiler {

/// The module's functions must carry the attributes of the target (vector width, tuning).
void optimizeLoops(llvm::Module &module, llvm::TargetMachine &machine);

} // namespace platen::compiler
