// Requests for kernels: WHAT is computed, whatever computes it. The compiler's select phase fills
// them; host builders and CUDA templates obey them. Plain C++, no MLIR.
//
// Each struct states the kernel's exact operand list, in this order. `describeRequest` (request.h)
// turns any of them into a name's parts, a canonical key and the operands; targets add how the work
// is cut. Requests that compare equal share one kernel. Notation: T tokens of the step, R rows, E =
// T or R by `extent`; every activation is row-major f32 unless said.
#pragma once

#include "kernels/packing.h"
#include "kernels/scalar_block.h"
#include "ops/loops/program.h"

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace platen::kernels {

/// What the first dimension of a kernel's activations is (EXTENT_* of the manifest).
enum class Extent : uint8_t { kOne = 0, kTokens = 1, kRows = 2 };

/// y[E, N] = epilogue(x[E, K] · W^T, row operands, column operands).
///
/// Weights share x and one packing. kConcat: W is their concatenation on N (q, k, v), the epilogue
/// sees one accumulator. kGated: all have the same n, the epilogue sees one accumulator a weight
/// (gate, up) and yields n columns. Epilogue inputs in order: accumulators, row operands, column
/// operands. An empty block yields accumulator 0. Operands: x, weights…, row operands… [E, N],
/// column operands… [N], y [E, N]. A row operand may be y itself.
///   x: f32 [E, K], or for q8/q4 packings a QuantizedRow panel (packing.h) of E rows.
/// f16 weights: hosts widen them and multiply in f32, so that x has the range of f32. GPUs round x
/// to f16, to nearest even; beyond its range x becomes +-65504, infinities too, and stays a number
/// (ONNX Runtime's f16 graphs turn such activations into infinities, and the norm behind them into
/// NaN); NaN stays NaN.
/// Narrow floats (GPUs alone) round x themselves, a token at a time; / and * in f32, sums in the
/// matrix unit's f32, amax over the token's K (a scale or group of zeros gives codes 0):
///   f8: c = e4m3(x * (448 / amax)), s = amax / 448;
///       acc = 0; for every 128 k, ascending: acc += sum(c * wc); y = acc * (s * ws)
///       (on sm_100 and sm_110 the matrix unit adds those sums itself, which it keeps whole)
///   f4: s = amax / 2688; for every 16 k with maximum m: g = e4m3((m / 6) / s),
///       c = e2m1(x * (1 / (g * s))); acc = sum(c * g * wc * wg), k ascending, 64 at a time;
///       y = acc * (s * ws)
/// (an inverse that overflows is the largest number), where wc, wg, ws are the weight's codes,
/// group scales and channel scales (packing.h). Numerics: fp32 sums, k ascending; q8/q4: exact
/// integer sum a 32-group, then one fma a group with the product of both scales. How x is rounded
/// and sums are grouped is a target's (host/specs.h, cuda/describe.h), and the same for every size
/// of step.
struct MatmulSpec {
  enum class Mode : uint8_t { kConcat, kGated };
  Extent extent = Extent::kTokens;
  Mode mode = Mode::kConcat;
  uint64_t k = 0;
  std::vector<uint64_t> n; ///< channels of each weight
  Packing packing;
  ScalarBlock epilogue;
  uint32_t rowOperands = 0;
  uint32_t columnOperands = 0;
  uint32_t rowsPerTile = 1; ///< host only: one of matmulVariants()

  uint64_t columns() const; ///< N of y
  bool operator==(const MatmulSpec &) const = default;
};

/// Quantises rows: symmetric, per 32-group, code = round to nearest even(x * 127/amax), scale =
/// amax/127. K is a multiple of 32. Operands: x [E, K], panel (QuantizedRow of K) E rows.
struct QuantizeRowsSpec {
  Extent extent = Extent::kTokens;
  uint64_t k = 0;
  bool operator==(const QuantizeRowsSpec &) const = default;
};

/// Where an input of a row stage comes from.
struct RowInput {
  enum class Kind : uint8_t {
    kRow,       ///< row operand `index`, element c
    kColumn,    ///< column operand `index`, element c
    kOutput,    ///< row output `index`, element c, stored by an earlier stage
    kReduction, ///< reduction `index` (counted over all stages), done by an earlier stage; the same
                ///< for every c
  };
  Kind kind = Kind::kRow;
  uint32_t index = 0;
  bool operator==(const RowInput &) const = default;
};

/// One pass over the row: evaluates `block` for every c, then stores and reduces some of its
/// values.
struct RowStage {
  enum class ReduceKind : uint8_t { kSum, kMax };
  struct Store {
    ScalarBlock::Value value;
    uint32_t output;
    bool operator==(const Store &) const = default;
  };
  struct Reduce {
    ScalarBlock::Value value;
    ReduceKind kind;
    bool operator==(const Reduce &) const = default;
  };
  std::vector<RowInput> inputs; ///< of the block
  ScalarBlock block;
  std::vector<Store> stores;
  std::vector<Reduce> reductions;
  bool operator==(const RowStage &) const = default;
};

/// A row operand of a row program: row (t, j) of width C starts at element t * tokenStride + offset
/// + j * C. tokenStride 0 means dense: rowsPerToken * C.
struct RowOperand {
  uint64_t tokenStride = 0;
  uint64_t offset = 0;
  bool operator==(const RowOperand &) const = default;
};

/// A fused row-wise kernel over rows of width C: norms, residual sums, activations, scaling.
///
/// Operands: row inputs… , column inputs… [C], row outputs… , then, if `quantize`, a QuantizedRow
/// panel of K = rowsPerToken * C that receives output `quantizedOutput` (C a multiple of 32). An
/// output may be the same buffer as a row input of equal layout. Values that depend on reductions
/// and constants alone are computed once a row. Reductions use a fixed order.
struct RowProgramSpec {
  Extent extent = Extent::kTokens;
  uint64_t rowsPerToken = 1;
  uint64_t width = 0; ///< C
  std::vector<RowOperand> rowInputs;
  uint32_t columnInputs = 0;
  std::vector<RowOperand> outputs;
  std::vector<RowStage> stages;
  bool quantize = false;
  uint32_t quantizedOutput = 0;
  bool operator==(const RowProgramSpec &) const = default;
};

// The usual row programs. `quantize` adds the panel of the last output as last operand.
/// y = x / sqrt(mean(x^2) + eps) * w. Operands: x, w, y.
RowProgramSpec rmsNormProgram(uint64_t width, float epsilon, bool quantize = false);
/// h' = h + x; y = norm(h') * w. Operands: h, x, w, h', y.
RowProgramSpec addNormProgram(uint64_t width, float epsilon, bool quantize = false);
/// h' = h + norm(x) * w1; y = norm(h') * w2. Operands: h, x, w1, w2, h', y.
RowProgramSpec normAddNormProgram(uint64_t width, float epsilon1, float epsilon2,
                                  bool quantize = false);
/// y = block(row inputs…), elementwise. Operands: row inputs…, y.
RowProgramSpec elementwiseProgram(uint64_t width, const ScalarBlock &block, uint32_t rowInputs,
                                  bool quantize = false);

/// y[t] = table[token_ids[t]] * scale, reading rows out of panels (or a raw table).
/// Token ids are in [0, vocabulary). Operands: table (vocabulary x width in `packing`), y [T,
/// width].
struct EmbedSpec {
  uint64_t vocabulary = 0;
  uint64_t width = 0;
  Packing packing;
  float scale = 1;
  bool operator==(const EmbedSpec &) const = default;
};

/// Finishes q, k, v of one attention layer: per-head RMSNorm, RoPE, scaling; appends k and v to the
/// paged cache.
///
/// Operands: qkv [T, (nh + 2 kv) hd], or with `separateInputs` q [T, nh hd], k [T, kv hd], v [T, kv
/// hd]; then q_norm [hd] if qNorm, k_norm [hd] if kNorm; cos [P, r/2], sin [P, r/2] if ropeDim; q
/// out [T, nh hd]; cache (layout: manifest `Cache`). norm(x) = x / sqrt(mean(x^2) + eps) * w. RoPE
/// by position p: half-split pairs are (i, i + r/2), interleaved ones (2i, 2i+1); (a, b) -> (a cos
/// - b sin, b cos + a sin); elements from r on stay. q is multiplied by qScale last.
struct QkvFinishSpec {
  uint32_t heads = 0, kvHeads = 0, headDim = 0;
  bool separateInputs = false;
  bool qNorm = false, kNorm = false;
  float epsilon = 1e-6F; ///< of both norms
  uint32_t ropeDim = 0;  ///< r: even, <= headDim; 0: no RoPE
  bool interleaved = false;
  float qScale = 1;
  base::DType cacheDtype = base::DType::kF32;
  uint32_t pageTokens = 16;
  bool operator==(const QkvFinishSpec &) const = default;
};

/// out[t, h] = softmax over the cached positions p <= positions[t] (and > positions[t] - window) of
/// softcap(scale * q[t,h]·k[p]) · v[p], online, pages of 16 in ascending position. A sink logit
/// s[h] joins the softmax's denominator. Grouped queries: head h reads kv head h / (nh / kv).
/// Operands: q [T, nh hd], cache, sinks [nh] if `sinks`, out [T, nh hd]. Pages outside every window
/// are never touched.
struct PagedAttentionSpec {
  uint32_t heads = 0, kvHeads = 0, headDim = 0;
  float scale = 1;
  uint32_t window =
      0; ///< 0: all earlier positions; else only the last `window`, the token itself included
  float softcap = 0; ///< 0: none
  bool sinks = false;
  base::DType cacheDtype = base::DType::kF32;
  uint32_t pageTokens = 16;
  uint32_t blockTokens = 1; ///< host only: tokens that share a walk over the pages; equal bits
  bool operator==(const PagedAttentionSpec &) const = default;
};

/// y[r] = x[row_tokens[r]]. Operands: x [T, C], y [R, C].
struct SelectRowsSpec {
  uint64_t width = 0;
  bool operator==(const SelectRowsSpec &) const = default;
};

/// One launch of loops (ops/loops/program.h), of graphs that have no serving form. Operands: the
/// program's tensors, in order. Tokens of the step are the points of the parallel axes (1 if there
/// is none); sizes that only a run knows are the step's symbols (kernel_abi.h, PlatenGraphStep).
struct LoopSpec {
  ops::loops::Program program;
  bool operator==(const LoopSpec &) const = default;
};

using KernelSpec = std::variant<MatmulSpec, QuantizeRowsSpec, RowProgramSpec, EmbedSpec,
                                QkvFinishSpec, PagedAttentionSpec, SelectRowsSpec, LoopSpec>;

/// One operand of a kernel, for the compiler's checks and the test harness.
struct OperandInfo {
  enum class Role : uint8_t { kInput, kOutput, kWeight, kCache };
  std::string name;
  Role role = Role::kInput;
  Extent extent = Extent::kOne; ///< of the first dimension; kOne for weights and tables
  uint64_t rowBytes =
      0;           ///< bytes a row of the extent takes (inputs, outputs); of the whole for weights
  Packing packing; ///< weights and tables
  uint64_t n = 0, k = 0; ///< logical shape of a weight; tables: n rows (0: unknown here), k columns
};

} // namespace platen::kernels
