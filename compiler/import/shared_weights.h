// Finds weights that are stored more than once: byte-identical copies, and transposed twins (an
// embedding [V,H] whose language-model head is stored again as [H,V]). Exporters write both; the
// plan stores such a weight once.
#pragma once

#include "compiler/import/tensor_reader.h"

#include <map>

namespace platen::compiler {

struct WeightView {
  std::string name;
  ops::TensorType type;
  WeightRange range;
};

/// Copy → the first weight with the same dtype, shape and bytes. Reads only weights that share
/// dtype and shape with another and agree in their first bytes. Errors: those of WeightStore::view.
base::Result<std::map<std::string, std::string>> findCopies(std::span<const WeightView> weights,
                                                            WeightStore &store);

/// Matrix → the matrix that it is the transpose of; each matrix is twin to at most one other. Of
/// two, the one that comes first in `weights` is kept. Compares a sample first, then everything, in
/// tiles, without buffers. 8-, 16- and 32- and 64-bit dtypes only; square matrices too.
base::Result<std::map<std::string, std::string>>
findTransposedTwins(std::span<const WeightView> weights, WeightStore &store);

} // namespace platen::compiler
