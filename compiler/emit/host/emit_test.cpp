// Emission of whole kernel sets: every row of the descriptor table becomes a blob for every target;
// the instructions that a target is chosen for are really there; the bytes do not depend on
// threads.
#include "compiler/emit/host/emit.h"
#include "kernels/descriptor.h"
#include "ops/loops/builder.h"

#include <gtest/gtest.h>

namespace platen::compiler {
namespace {

using namespace kernels;

MatmulSpec matmul(const Packing &packing, uint32_t rowsPerTile) {
  MatmulSpec spec;
  spec.k = 192, spec.n = {256}, spec.packing = packing, spec.rowsPerTile = rowsPerTile;
  return spec;
}

/// At least one request for every row of the table.
std::vector<HostKernelSpec> wholeTable() {
  std::vector<HostKernelSpec> specs;
  for (const KernelDescriptor &row : kHostKernels) {
    if (row.op == "matmul")
      for (const MatmulVariant &variant : matmulVariants(*parsePacking(row.packing)))
        specs.push_back(matmul(*parsePacking(row.packing), variant.rowsPerTile));
    else if (row.op == "embed")
      specs.push_back(EmbedSpec{100, 64, *parsePacking(row.packing), 1.0F});
    else if (row.op == "quantize_rows")
      specs.push_back(QuantizeRowsSpec{Extent::kTokens, 64});
    else if (row.op == "row_program")
      specs.push_back(normAddNormProgram(640, 1e-6F, 1e-6F, true));
    else if (row.op == "select_rows")
      specs.push_back(SelectRowsSpec{640});
    else if (row.op == "qkv_finish") {
      QkvFinishSpec spec;
      spec.heads = 4, spec.kvHeads = 1, spec.headDim = 256, spec.ropeDim = 256,
      spec.qNorm = spec.kNorm = true;
      specs.push_back(spec);
    } else if (row.op == "paged_attention") {
      PagedAttentionSpec spec;
      spec.heads = 4, spec.kvHeads = 1, spec.headDim = 256, spec.softcap = 50;
      specs.push_back(spec);
    } else {
      ADD_FAILURE() << "no request for '" << row.op << "'";
    }
  }
  return specs;
}

TEST(EmitHost, WholeTableOnEveryTarget) {
  const std::vector<HostKernelSpec> specs = wholeTable();
  for (const HostTarget &target : kHostTargets) {
    size_t calls = 0;
    const auto blob = emitHostKernels(specs, target, {2, [&](size_t done, size_t total) {
                                                        EXPECT_EQ(done, ++calls);
                                                        EXPECT_EQ(total, specs.size());
                                                      }});
    ASSERT_TRUE(blob.isOk()) << target.name << ": " << blob.status().toString();
    EXPECT_EQ(calls, specs.size());
    for (const HostKernelSpec &spec : specs)
      EXPECT_TRUE(blob->entries.contains(describeHostKernel(spec)->name));
  }
}

TEST(EmitHost, BytesDependOnNothingButTheRequests) {
  std::vector<HostKernelSpec> specs = {
      matmul(*parsePacking("panel16.f32"), 6), QuantizeRowsSpec{Extent::kRows, 96},
      rmsNormProgram(64, 1e-6F), matmul(*parsePacking("panel16.q4g32.f16"), 1)};
  const auto one = emitHostKernels(specs, kAvx2Target, {1, {}});
  specs.push_back(specs[0]); // equal requests are built once
  const auto two = emitHostKernels(specs, kAvx2Target, {2, {}});
  ASSERT_TRUE(one.isOk() && two.isOk());
  EXPECT_EQ(one->bytes, two->bytes);
  EXPECT_EQ(one->entries, two->entries);
}

TEST(EmitHost, FailureNamesTheKernel) {
  const std::vector<HostKernelSpec> specs = {QuantizeRowsSpec{Extent::kTokens, 64},
                                             QuantizeRowsSpec{Extent::kTokens, 65}};
  const auto blob = emitHostKernels(specs, kAvx2Target);
  ASSERT_FALSE(blob.isOk());
  EXPECT_NE(blob.status().toString().find("quantize_rows"), std::string::npos);
  EXPECT_NE(blob.status().toString().find("65"), std::string::npos);
}

std::string assembly(const HostKernelSpec &spec, const HostTarget &target) {
  auto text = hostKernelAssembly(spec, target);
  EXPECT_TRUE(text.isOk()) << text.status().toString();
  return text.isOk() ? *text : "";
}
bool has(const std::string &text, const std::string &word) {
  return text.find(word) != std::string::npos;
}

TEST(EmitHost, Avx512UsesItsInstructions) {
  for (uint32_t rows : {1U, 4U}) {
    for (const char *packing : {"panel16.q8g32.f16", "panel16.q4g32.f16", "panel16.q8g32.f32z"}) {
      const std::string text = assembly(matmul(*parsePacking(packing), rows), kAvx512Target);
      EXPECT_TRUE(has(text, "vpdpbusd") && has(text, "%zmm")) << packing;
    }
    const std::string bf16 = assembly(matmul(*parsePacking("panel16.bf16"), rows), kAvx512Target);
    EXPECT_TRUE(has(bf16, "vdpbf16ps") && has(bf16, "vcvtneps2bf16") && has(bf16, "%zmm"));
    const std::string f32 = assembly(matmul(*parsePacking("panel16.f32"), rows), kAvx512Target);
    EXPECT_TRUE(has(f32, "vfmadd231ps") && has(f32, "%zmm"));
  }
}

TEST(EmitHost, Avx2UsesNothingNewer) {
  for (const HostKernelSpec &spec : wholeTable()) {
    const std::string text = assembly(spec, kAvx2Target);
    for (const char *word : {"%zmm", "%k1", "vpdpbusd", "vdpbf16ps", "%xmm16", "%ymm16"})
      EXPECT_FALSE(has(text, word)) << word << " in " << describeHostKernel(spec)->name;
    const auto *product = std::get_if<MatmulSpec>(&spec);
    const bool integer = product != nullptr && product->packing.isQuantized();
    EXPECT_EQ(integer, has(text, "vpmaddubsw"));
  }
}

using ops::loops::Builder;
using ops::loops::Kind;
using LoopValue = ops::loops::Value;

/// z[i] = x[i] + y[i], of as many elements as symbol 0 says.
LoopSpec addition() {
  const base::Size count = base::Size::symbol(0);
  Builder b;
  const uint32_t x = b.tensor({base::DType::kF32, {count}}),
                 y = b.tensor({base::DType::kF32, {count}}),
                 z = b.tensor({base::DType::kF32, {count}});
  const std::vector<LoopValue> at = {b.axis(0)};
  b.store(z, at, b.add(b.load(x, at), b.load(y, at)));
  return {b.finish({count}, 1)};
}

/// y[i] = sum of x[k] * w[i, k].
LoopSpec dotProduct() {
  const base::Size rows = base::Size::symbol(0), depth = base::Size::symbol(1);
  Builder b;
  const uint32_t x = b.tensor({base::DType::kF32, {depth}}),
                 w = b.tensor({base::DType::kF32, {rows, depth}}),
                 y = b.tensor({base::DType::kF32, {rows}});
  const LoopValue row = b.axis(0);
  b.store(y, std::vector{row}, b.sum(b.size(depth), Kind::kF32, [&](LoopValue k) {
    return b.mul(b.load(x, std::vector{k}), b.load(w, std::vector{row, k}));
  }));
  return {b.finish({rows}, 1)};
}

TEST(EmitHost, LoopsAreVectors) {
  for (const HostTarget &target : kHostTargets) {
    const std::string reg = target.vectorBits == 512 ? "%zmm" : "%ymm";
    auto line = [&](const std::string &text, const std::string &word) {
      for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1))
        if (has(text.substr(at, text.find('\n', at) - at), reg))
          return true;
      return false;
    };
    const std::string sum = assembly(addition(), target), dot = assembly(dotProduct(), target);
    EXPECT_TRUE(line(sum, "vaddps")) << sum;
    EXPECT_TRUE(line(dot, "vmulps") && line(dot, "vaddps")) << dot;
    EXPECT_FALSE(has(dot, "vfmadd")) << "products are rounded before they are added";
    if (target.vectorBits == 256) {
      EXPECT_FALSE(has(sum + dot, "%zmm") || has(sum + dot, "%k1"));
    }
  }
}

} // namespace
} // namespace platen::compiler
