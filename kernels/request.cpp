// describeRequest: checks a request and lists what every target's kernel of it has in common.
#include "kernels/request.h"

#include "kernels/descriptor.h"

#include <bit>

namespace platen::kernels {

using base::invalidArgument;
using base::Result;
using base::Status;
using Role = OperandInfo::Role;

uint64_t MatmulSpec::columns() const {
  if (mode == Mode::kGated)
    return n.empty() ? 0 : n[0];
  uint64_t sum = 0;
  for (uint64_t one : n)
    sum += one;
  return sum;
}

std::string requestHash(std::string_view key) {
  uint64_t hash = 0xcbf29ce484222325U; // FNV-1a
  for (char c : key)
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (int shift = 60; shift >= 0; shift -= 4)
    text += kDigits[(hash >> static_cast<unsigned>(shift)) & 15U];
  return text;
}

namespace {

/// Text of fields, separated so that different requests never give the same text.
template <typename... Fields> std::string keyOf(const Fields &...fields) {
  std::string text;
  auto append = [&](const auto &field) {
    using T = std::decay_t<decltype(field)>;
    if constexpr (std::is_convertible_v<T, std::string_view>)
      text += std::string_view(field);
    else if constexpr (std::is_same_v<T, float>)
      text.append("f").append(std::to_string(std::bit_cast<uint32_t>(field)));
    else
      text += std::to_string(static_cast<uint64_t>(field));
    text += '|';
  };
  (append(fields), ...);
  return text;
}

void finish(KernelRequest &info, std::string_view op, std::string_view dtypes) {
  info.op = op;
  info.dtypes = dtypes;
  info.key = std::string(op) + "|" + info.key;
}

OperandInfo row(std::string name, Role role, Extent extent, uint64_t bytes) {
  return {std::move(name), role, extent, bytes, {}, 0, 0};
}

OperandInfo weight(std::string name, const Packing &packing, uint64_t n, uint64_t k) {
  return {std::move(name), Role::kWeight, Extent::kOne, packing.bytes(n, k), packing, n, k};
}

OperandInfo vectorOperand(std::string name, uint64_t width) {
  return weight(std::move(name), *parsePacking("raw.f32"), 1, width);
}

OperandInfo cacheOperand() { return row("cache", Role::kCache, Extent::kOne, 0); }

/// Every operand of the block stands before it, every input exists.
Status checkBlock(const ScalarBlock &block, uint64_t inputs, const std::string &where) {
  for (size_t i = 0; i < block.ops().size(); ++i) {
    const ScalarOp &op = block.ops()[i];
    if (op.kind == ScalarOpKind::kInput) {
      if (op.index >= inputs)
        return invalidArgument("input " + std::to_string(op.index) + " of the block, which has " +
                                   std::to_string(inputs) + " inputs",
                               where);
    } else if (op.kind != ScalarOpKind::kConstant && (op.a >= i || op.b >= i || op.c >= i)) {
      return invalidArgument("operation " + std::to_string(i) + " uses a value that is made later",
                             where);
    }
  }
  if (!block.ops().empty() && block.result() >= block.ops().size())
    return invalidArgument("the block yields a value it does not have", where);
  return Status::ok();
}

Result<KernelRequest> describe(const MatmulSpec &spec) {
  const std::string where = "matmul";
  const KernelDescriptor *entry = findAnyKernel("matmul", spec.packing.name);
  if (entry == nullptr)
    return base::unsupported("no matmul reads packing '" + std::string(spec.packing.name) +
                                 "'; use a panel16 packing",
                             where);
  if (spec.k == 0 || spec.k % entry->kMultiple != 0)
    return invalidArgument("k = " + std::to_string(spec.k) + " is not a positive multiple of " +
                               std::to_string(entry->kMultiple) + ", which packing '" +
                               std::string(spec.packing.name) + "' needs",
                           where);
  if (spec.n.empty() || spec.n.size() > 8)
    return invalidArgument("a matmul has 1 to 8 weights, not " + std::to_string(spec.n.size()),
                           where);
  for (uint64_t n : spec.n)
    if (n == 0 || (spec.mode == MatmulSpec::Mode::kGated && n != spec.n[0]))
      return invalidArgument("n = " + std::to_string(n) +
                                 ": channels must be positive, and equal in a gated matmul",
                             where);
  const bool gated = spec.mode == MatmulSpec::Mode::kGated;
  const uint64_t accumulators = gated ? spec.n.size() : 1;
  PLATEN_RETURN_IF_ERROR(checkBlock(
      spec.epilogue, accumulators + spec.rowOperands + spec.columnOperands, "matmul epilogue"));

  KernelRequest info;
  info.extent = spec.extent;
  const uint64_t rowBytes = spec.packing.isQuantized() ? QuantizedRow{spec.k}.bytes() : spec.k * 4;
  info.operands.push_back(row("x", Role::kInput, spec.extent, rowBytes));
  for (size_t i = 0; i < spec.n.size(); ++i)
    info.operands.push_back(weight("w" + std::to_string(i), spec.packing, spec.n[i], spec.k));
  for (uint32_t i = 0; i < spec.rowOperands; ++i)
    info.operands.push_back(
        row("row" + std::to_string(i), Role::kInput, spec.extent, spec.columns() * 4));
  for (uint32_t i = 0; i < spec.columnOperands; ++i)
    info.operands.push_back(vectorOperand("column" + std::to_string(i), spec.columns()));
  info.operands.push_back(row("y", Role::kOutput, spec.extent, spec.columns() * 4));
  info.key = keyOf(spec.extent, spec.mode, spec.k, spec.n.size());
  for (uint64_t n : spec.n)
    info.key += keyOf(n);
  info.key += keyOf(spec.packing.name, spec.epilogue.key(), spec.rowOperands, spec.columnOperands,
                    spec.rowsPerTile);
  finish(info, "matmul", entry->dtypes);
  return info;
}

Result<KernelRequest> describe(const QuantizeRowsSpec &spec) {
  if (spec.k == 0 || spec.k % kGroup != 0)
    return invalidArgument("k = " + std::to_string(spec.k) + " is not a positive multiple of 32",
                           "quantize_rows");
  KernelRequest info;
  info.extent = spec.extent;
  info.operands = {row("x", Role::kInput, spec.extent, spec.k * 4),
                   row("panel", Role::kOutput, spec.extent, QuantizedRow{spec.k}.bytes())};
  info.key = keyOf(spec.extent, spec.k);
  finish(info, "quantize_rows", "f32_q8");
  return info;
}

Status checkStages(const RowProgramSpec &spec) {
  uint32_t reductions = 0;
  std::vector<bool> stored(spec.outputs.size(), false);
  for (size_t s = 0; s < spec.stages.size(); ++s) {
    const RowStage &stage = spec.stages[s];
    const std::string where = "row_program stage " + std::to_string(s);
    for (const RowInput &input : stage.inputs) {
      const bool known = input.kind == RowInput::Kind::kRow ? input.index < spec.rowInputs.size()
                         : input.kind == RowInput::Kind::kColumn ? input.index < spec.columnInputs
                         : input.kind == RowInput::Kind::kOutput
                             ? input.index < stored.size() && stored[input.index]
                             : input.index < reductions;
      if (!known)
        return invalidArgument("an input refers to operand or reduction " +
                                   std::to_string(input.index) +
                                   ", which does not exist at this stage",
                               where);
    }
    PLATEN_RETURN_IF_ERROR(checkBlock(stage.block, stage.inputs.size(), where));
    for (const RowStage::Store &store : stage.stores) {
      if (store.output >= stored.size() || store.value >= stage.block.ops().size())
        return invalidArgument("a store refers to an output or value that does not exist", where);
      stored[store.output] = true;
    }
    for (const RowStage::Reduce &reduce : stage.reductions)
      if (reduce.value >= stage.block.ops().size())
        return invalidArgument("a reduction refers to a value that does not exist", where);
    reductions += static_cast<uint32_t>(stage.reductions.size());
  }
  for (bool one : stored)
    if (!one)
      return invalidArgument("an output is never stored", "row_program");
  if (spec.quantize && (spec.quantizedOutput >= stored.size() || spec.width % kGroup != 0))
    return invalidArgument(
        "the quantised output must exist and have a width that is a multiple of 32, not " +
            std::to_string(spec.width),
        "row_program");
  return Status::ok();
}

Result<KernelRequest> describe(const RowProgramSpec &spec) {
  if (spec.width == 0 || spec.rowsPerToken == 0 || spec.outputs.empty())
    return invalidArgument("width, rowsPerToken and outputs must not be empty", "row_program");
  PLATEN_RETURN_IF_ERROR(checkStages(spec));
  const uint64_t dense = spec.rowsPerToken * spec.width;
  KernelRequest info;
  info.extent = spec.extent;
  info.key =
      keyOf(spec.extent, spec.rowsPerToken, spec.width, spec.columnInputs, spec.quantize,
            spec.quantizedOutput, spec.rowInputs.size(), spec.outputs.size(), spec.stages.size());
  auto addRow = [&](const RowOperand &operand, const std::string &name, Role role) -> Status {
    const uint64_t stride = operand.tokenStride == 0 ? dense : operand.tokenStride;
    if (operand.offset + dense > stride)
      return invalidArgument("operand " + name + ": offset + width is beyond its token stride",
                             "row_program");
    info.operands.push_back(row(name, role, spec.extent, stride * 4));
    info.key += keyOf(stride, operand.offset);
    return Status::ok();
  };
  for (size_t i = 0; i < spec.rowInputs.size(); ++i)
    PLATEN_RETURN_IF_ERROR(addRow(spec.rowInputs[i], "row" + std::to_string(i), Role::kInput));
  for (uint32_t i = 0; i < spec.columnInputs; ++i)
    info.operands.push_back(vectorOperand("column" + std::to_string(i), spec.width));
  for (size_t i = 0; i < spec.outputs.size(); ++i)
    PLATEN_RETURN_IF_ERROR(addRow(spec.outputs[i], "out" + std::to_string(i), Role::kOutput));
  if (spec.quantize)
    info.operands.push_back(row("panel", Role::kOutput, spec.extent, QuantizedRow{dense}.bytes()));
  for (const RowStage &stage : spec.stages) {
    info.key += "[" + stage.block.key() + "]";
    for (const RowInput &input : stage.inputs)
      info.key += keyOf(input.kind, input.index);
    info.key += "s";
    for (const RowStage::Store &store : stage.stores)
      info.key += keyOf(store.value, store.output);
    info.key += "r";
    for (const RowStage::Reduce &reduce : stage.reductions)
      info.key += keyOf(reduce.value, reduce.kind);
  }
  finish(info, "row_program", "f32");
  return info;
}

Result<KernelRequest> describe(const EmbedSpec &spec) {
  const KernelDescriptor *entry = findKernel("embed", spec.packing.name);
  if (entry == nullptr)
    return base::unsupported("no embedding reads packing '" + std::string(spec.packing.name) + "'",
                             "embed");
  if (spec.vocabulary == 0 || spec.width == 0)
    return invalidArgument("vocabulary and width must be positive", "embed");
  if (spec.packing.isQuantized() && spec.width % kGroup != 0)
    return invalidArgument("width " + std::to_string(spec.width) +
                               " is not a multiple of 32, the group of the packing",
                           "embed");
  KernelRequest info;
  info.operands = {weight("table", spec.packing, spec.vocabulary, spec.width),
                   row("y", Role::kOutput, Extent::kTokens, spec.width * 4)};
  info.key = keyOf(spec.vocabulary, spec.width, spec.packing.name, spec.scale);
  finish(info, "embed", entry->dtypes);
  return info;
}

Status checkHeads(uint32_t heads, uint32_t kvHeads, uint32_t headDim, base::DType cache,
                  uint32_t pageTokens, const std::string &where) {
  if (heads == 0 || kvHeads == 0 || heads % kvHeads != 0)
    return invalidArgument(std::to_string(heads) + " heads do not share " +
                               std::to_string(kvHeads) + " kv heads evenly",
                           where);
  if (headDim == 0 || headDim % 4 != 0 || headDim > 1024)
    return base::unsupported("head size " + std::to_string(headDim) +
                                 "; multiples of 4 up to 1024 are supported",
                             where);
  if (cache != base::DType::kF32 && cache != base::DType::kBF16)
    return base::unsupported(
        "a KV cache of " + std::string(base::dtypeName(cache)) + "; use f32 or bf16", where);
  if (pageTokens != 16)
    return base::unsupported("pages of " + std::to_string(pageTokens) + " tokens; kernels use 16",
                             where);
  return Status::ok();
}

Result<KernelRequest> describe(const QkvFinishSpec &spec) {
  PLATEN_RETURN_IF_ERROR(checkHeads(spec.heads, spec.kvHeads, spec.headDim, spec.cacheDtype,
                                    spec.pageTokens, "qkv_finish"));
  if (spec.ropeDim % 2 != 0 || spec.ropeDim > spec.headDim)
    return invalidArgument("ropeDim " + std::to_string(spec.ropeDim) +
                               " is odd or beyond the head size",
                           "qkv_finish");
  KernelRequest info;
  const uint64_t q = uint64_t{spec.heads} * spec.headDim,
                 kv = uint64_t{spec.kvHeads} * spec.headDim;
  if (spec.separateInputs) {
    info.operands = {row("q", Role::kInput, Extent::kTokens, q * 4),
                     row("k", Role::kInput, Extent::kTokens, kv * 4),
                     row("v", Role::kInput, Extent::kTokens, kv * 4)};
  } else {
    info.operands = {row("qkv", Role::kInput, Extent::kTokens, (q + 2 * kv) * 4)};
  }
  if (spec.qNorm)
    info.operands.push_back(vectorOperand("q_norm", spec.headDim));
  if (spec.kNorm)
    info.operands.push_back(vectorOperand("k_norm", spec.headDim));
  if (spec.ropeDim != 0) {
    info.operands.push_back(weight("cos", *parsePacking("raw.f32"), 0, spec.ropeDim / 2));
    info.operands.push_back(weight("sin", *parsePacking("raw.f32"), 0, spec.ropeDim / 2));
  }
  info.operands.push_back(row("q_out", Role::kOutput, Extent::kTokens, q * 4));
  info.operands.push_back(cacheOperand());
  info.key = keyOf(spec.heads, spec.kvHeads, spec.headDim, spec.separateInputs, spec.qNorm,
                   spec.kNorm, spec.epsilon, spec.ropeDim, spec.interleaved, spec.qScale,
                   spec.cacheDtype, spec.pageTokens);
  finish(info, "qkv_finish", "f32_" + std::string(base::dtypeName(spec.cacheDtype)));
  return info;
}

Result<KernelRequest> describe(const PagedAttentionSpec &spec) {
  PLATEN_RETURN_IF_ERROR(checkHeads(spec.heads, spec.kvHeads, spec.headDim, spec.cacheDtype,
                                    spec.pageTokens, "paged_attention"));
  KernelRequest info;
  const uint64_t q = uint64_t{spec.heads} * spec.headDim;
  info.operands = {row("q", Role::kInput, Extent::kTokens, q * 4), cacheOperand()};
  if (spec.sinks)
    info.operands.push_back(vectorOperand("sinks", spec.heads));
  info.operands.push_back(row("out", Role::kOutput, Extent::kTokens, q * 4));
  info.key = keyOf(spec.heads, spec.kvHeads, spec.headDim, spec.scale, spec.window, spec.softcap,
                   spec.sinks, spec.cacheDtype, spec.pageTokens, spec.blockTokens);
  finish(info, "paged_attention", "f32_" + std::string(base::dtypeName(spec.cacheDtype)));
  return info;
}

Result<KernelRequest> describe(const SelectRowsSpec &spec) {
  if (spec.width == 0)
    return invalidArgument("width must be positive", "select_rows");
  KernelRequest info;
  info.extent = Extent::kRows;
  info.operands = {row("x", Role::kInput, Extent::kTokens, spec.width * 4),
                   row("y", Role::kOutput, Extent::kRows, spec.width * 4)};
  info.key = keyOf(spec.width);
  finish(info, "select_rows", "f32");
  return info;
}

Result<KernelRequest> describe(const LoopSpec &spec) {
  PLATEN_RETURN_IF_ERROR(ops::loops::verify(spec.program));
  KernelRequest info;
  info.key = spec.program.key();
  std::string dtypes;
  for (uint32_t i = 0; i < spec.program.tensors.size(); ++i) {
    const bool isStored = spec.program.isStored(i);
    info.operands.push_back(
        row("t" + std::to_string(i), isStored ? Role::kOutput : Role::kInput, Extent::kOne, 0));
    if (isStored && dtypes.empty())
      dtypes = base::dtypeName(spec.program.tensors[i].dtype);
  }
  finish(info, "loops", dtypes);
  return info;
}

} // namespace

Result<KernelRequest> describeRequest(const KernelSpec &spec) {
  return std::visit([](const auto &one) { return describe(one); }, spec);
}

} // namespace platen::kernels
