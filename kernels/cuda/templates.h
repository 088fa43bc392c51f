// The texts of the .cuh templates, embedded in the compiler when it is built (CMakeLists.txt).
#pragma once

#include <string_view>

namespace platen::kernels {

/// Text of "device.cuh" and the like, with a #line directive; empty for an unknown name.
std::string_view cudaTemplate(std::string_view name);

} // namespace platen::kernels
