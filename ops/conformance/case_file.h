// The cases of operators as files: `cases.json` in each operator's folder, and dumps of single ONNX
// nodes that the Python side of the conformance tests writes. Every executor (reference, host
// kernels, devices) reads the same cases through this header. Not thread-safe, no MLIR.
#pragma once

#include "ops/op.h"

#include <nlohmann/json_fwd.hpp>

#include <filesystem>

namespace platen::ops {

/// One call and what it must give: results, or an error that cites `error` (a constraint label).
struct Case {
  std::string name;
  Attributes attributes;
  std::vector<std::optional<Tensor>> inputs; ///< nullopt: absent
  std::vector<Tensor> outputs;
  std::string error; ///< empty: the call succeeds
  double ulp = 0;    ///< tolerance of the reference, in units in the last place of the dtype …
  double atol = 0;   ///< … plus this much
  double loopsAtol =
      0; ///< … and this much more where f32 arithmetic computes it, as the .md allows
  std::vector<const Tensor *> operands() const;
};

/// `<sourceDir>/ops/<op>/cases.json`. NotFound, Corrupt (where and why) otherwise.
base::Result<std::vector<Case>> readCases(const std::filesystem::path &sourceDir, const OpSpec &op);

/// {"dtype", "dims", "values"} with numbers or "nan", "inf", "-inf"; or {"dtype", "dims", "hex"}
/// with the bytes in hexadecimal. May throw nlohmann::json::exception on malformed input.
base::Result<Tensor> tensorFromJson(const nlohmann::json &json);

/// Empty if `actual` equals `expected` in type and, element by element, in value up to `ulp` units
/// of the expected value's dtype plus `atol` plus `rtol` of the expected magnitude; NaN equals NaN,
/// integers are compared exactly unless `atol` is positive. Else the first difference.
std::string difference(const Tensor &actual, const Tensor &expected, double ulp, double atol,
                       double rtol = 0);

} // namespace platen::ops
