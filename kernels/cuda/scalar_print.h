// Prints scalar blocks and row programs as CUDA C++.
//
// Same semantics as the host builders' lowering: each operation rounds by itself (kernels are
// compiled with --fmad=false; fma rounds once), max is a > b ? a : b and min a < b ? a : b,
// division and square root are correctly rounded; exp, log, tanh and erf are CUDA's expf, logf,
// tanhf, erff (2 units in the last place). Constants are printed by their bits.
#pragma once

#include "kernels/specs.h"

#include <functional>
#include <string>

namespace platen::kernels {

/// Statements `const float <prefix>i = …;`, one an operation; `input` names the value of an input.
std::string printScalarBlock(const ScalarBlock &block, const std::string &prefix,
                             const std::function<std::string(uint32_t)> &input);

/// f32 as an expression that has exactly its bits.
std::string printFloat(float value);

/// Threads of a block of the row program's kernel.
uint32_t rowProgramThreads(const RowProgramSpec &spec);

/// The whole kernel of a row program; needs device.cuh and rows.cuh before it.
std::string printRowProgram(const RowProgramSpec &spec, const std::string &entry);

} // namespace platen::kernels
