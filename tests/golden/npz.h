// Reads NumPy's .npz archives (stored or deflated), for tests only: the files are trusted to be
// what NumPy wrote.
#pragma once

#include "ops/tensor.h"

#include <filesystem>
#include <map>
#include <string>

namespace platen::golden {

/// Array name → tensor; of the types that tools/npy reads. Errors: kNotFound, kCorrupt,
/// kUnsupported.
base::Result<std::map<std::string, ops::Tensor>> readNpz(const std::filesystem::path &path);

} // namespace platen::golden
