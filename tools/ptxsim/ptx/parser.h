// PTX text to ast::Module. Takes PTX ISA up to 9.0 as NVRTC, nvcc and Triton print it.
//
// Any bytes end in a Module or in a Status kCorrupt that names the line; memory is linear in the
// text. Limits: 64 MiB of text, operands nested 4 deep, scopes nested 256 deep, register ranges up
// to 2^20. Debug sections, .loc, .file and .pragma are skipped. Instructions are not judged.
#pragma once

#include "tools/ptxsim/ptx/ast.h"

#include "runtime/base/status.h"

#include <memory>
#include <string>

namespace platen::ptxsim::ptx {

/// Behind a pointer because views point into Module::text.
base::Result<std::unique_ptr<Module>> parse(std::string text);

} // namespace platen::ptxsim::ptx
