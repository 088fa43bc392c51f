// `platen run plan --input name=file.npy … --output folder`: runs a graph that is no decoder, on
// the public interface alone.
//
// Inputs are NumPy arrays, one file each; outputs become <folder>/<name>.npy. What was written, or
// without a folder what there would be, goes to standard output, everything else to standard error.
#pragma once

#include "runtime/engine/graph.h"

#include <iosfwd>
#include <string>
#include <vector>

namespace platen::cli {

struct RunGraphOptions {
  std::vector<std::string> inputs = {}; ///< "name=file.npy"
  std::string output_folder = {};       ///< made if it is missing; empty: nothing is written
  bool json = false;                    ///< one JSON object on `out`
};

/// A file's name for an output: what is no letter, digit, '.', '_' or '-' becomes '_'; so that no
/// name leaves the folder. Names that would meet are told apart by a number.
std::vector<std::string> fileNames(const std::vector<engine::NamedTensor> &outputs);

/// Reads the inputs, runs, writes the outputs. Returns the process's exit code: 0 or 1.
int runGraph(engine::Graph &graph, const RunGraphOptions &options, std::ostream &out,
             std::ostream &err);

} // namespace platen::cli
