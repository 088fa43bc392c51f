// Tensor maps that kernels make: tensormap.replace, tensormap.cp_fenceproxy, and their use.
#include "tools/ptxsim/core/simulator_testing.h"
#include "tools/ptxsim/core/tensor_map.h"

#include <numeric>

namespace platen::ptxsim {
namespace {

/// A map of a matrix of 20 x 32 words, boxes of 8 x 32, made in shared memory from zeros; the box
/// at (0, 4) is then copied to shared memory and on to %rd1. `edit` comes after the fields.
std::string makesItsMap(const std::string &edit, const std::string &type = "2",
                        const std::string &begin = "mov.b32 %r5, 0;\n") {
  auto set = [](const std::string &field, const std::string &bits, const std::string &value) {
    return "@%p1 tensormap.replace.tile." + field + ".shared::cta.b1024." + bits +
           " [ made + 0 ], " + value + ";\n";
  };
  return ".shared .align 128 .b8 made[128];\n.shared .align 128 .b8 tile[1024];\n"
         ".shared .align 8 .b64 bar;\nsetp.eq.u32 %p1, %r0, 0;\nsetp.lt.u32 %p2, %r0, 32;\n" +
         begin +
         "mov.u32 %r2, made;\nshl.b32 %r3, %r0, 2;\nadd.u32 %r3, %r2, %r3;\n"
         "@%p2 st.shared.b32 [%r3], %r5;\nbar.warp.sync -1;\nmov.b64 %rd10, 128;\n"
         "mov.b32 %r6, 32;\nmov.b32 %r7, 20;\n" +
         set("global_address", "b64", "%rd0") + set("rank", "b32", "0x1") +
         set("box_dim", "b32", "0x0, %r6") + set("box_dim", "b32", "0x1, 8") +
         set("global_dim", "b32", "0x0, %r6") + set("global_dim", "b32", "0x1, %r7") +
         set("global_stride", "b64", "0x0, %rd10") + set("element_stride", "b32", "0x0, 1") +
         set("element_stride", "b32", "0x1, 1") + set("elemtype", "b32", type) +
         set("interleave_layout", "b32", "0") + set("swizzle_mode", "b32", "0") +
         set("fill_mode", "b32", "0") + edit +
         "@%p2 tensormap.cp_fenceproxy.global.shared::cta.tensormap::generic.release.gpu.sync"
         ".aligned [%rd2], [made], 128;\n"
         "@%p2 fence.proxy.tensormap::generic.acquire.gpu [%rd2], 128;\n"
         "@%p1 mbarrier.init.shared::cta.b64 [bar], 1;\n@%p1 fence.proxy.async.shared::cta;\n"
         "bar.sync 0;\n@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [bar], 1024;\n"
         "@%p1 cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [tile], "
         "[%rd2, {0, 4}], [bar];\n"
         "WAIT:\nmbarrier.try_wait.parity.shared::cta.b64 %p9, [bar], 0;\n@!%p9 bra WAIT;\n"
         "mov.u32 %r2, tile;\nshl.b32 %r3, %r0, 2;\nadd.u32 %r2, %r2, %r3;\n"
         "ld.shared.u32 %r1, [%r2];\nmul.wide.u32 %rd10, %r0, 4;\nadd.s64 %rd10, %rd1, %rd10;\n"
         "st.global.u32 [%rd10], %r1;\n";
}

class MapBench : public Bench {
public:
  explicit MapBench(const std::string &body) : Bench(body) {
    std::vector<uint32_t> matrix(640);
    std::iota(matrix.begin(), matrix.end(), 0);
    buffer<uint32_t>(0, 640, matrix);
    buffer<uint32_t>(1, 256);
    buffer<uint8_t>(2, 128);
    launch.block = {256, 1, 1};
  }
};

TEST(TensorMapReplace, AMapFromNothingIsUsed) {
  for (AsyncOrder order : {AsyncOrder::kEarliest, AsyncOrder::kLatest, AsyncOrder::kRandom}) {
    MapBench b(makesItsMap(""));
    b.options.asyncOrder = order;
    b.options.checkLaneRaces = true;
    ASSERT_EQ(b.violation(), "");
    std::vector<uint32_t> values = b.read<uint32_t>(1, 256);
    for (uint32_t n = 0; n < 256; ++n)
      ASSERT_EQ(values[n], 128 + n);
  }
}

TEST(TensorMapReplace, WhatIsWrongIsReportedWhereItIsUsedOrSet) {
  auto replace = [](const std::string &what) {
    return "@%p1 tensormap.replace.tile." + what + ";\n";
  };
  auto reported = [&](const std::string &edit) { return MapBench(makesItsMap(edit)).violation(); };
  expectContains(reported(replace("rank.shared::cta.b1024.b32 [made], 5")), "from 0 to 4");
  expectContains(reported(replace("box_dim.shared::cta.b1024.b32 [made], 0, 2")),
                 "8 bytes wide: a multiple of 16");
  expectContains(reported(replace("global_stride.shared::cta.b1024.b64 [made], 0, 24")),
                 "a multiple of 16 below");
  expectContains(reported(replace("swizzle_mode.shared::cta.b1024.b32 [made], 4")),
                 "only swizzles");
  expectContains(reported("@%p1 st.shared.b32 [made+8], 1;\n"), "are no tensor map");
  // Something else than zeros to begin with.
  expectContains(MapBench(makesItsMap("", "2", "mov.b32 %r5, 7;\n")).violation(),
                 "neither a tensor map nor zeros");
  // A tensor of less rows: the box is filled with zeros.
  MapBench small(makesItsMap(replace("global_dim.shared::cta.b1024.b32 [made], 1, 6")));
  ASSERT_EQ(small.violation(), "");
  EXPECT_EQ(small.read<uint32_t>(1, 256)[63], 128u + 63);
  EXPECT_EQ(small.read<uint32_t>(1, 256)[64], 0u);
}

TEST(TensorMapReplace, TypesAreNumberedAsInPtx) {
  // Value of the field, and what the map then holds; 13 to 15 are packed types.
  const std::pair<uint32_t, TensorType> kTypes[] = {
      {0, TensorType::kU8},    {5, TensorType::kS64},      {6, TensorType::kF16},
      {7, TensorType::kF32},   {8, TensorType::kF32Flush}, {9, TensorType::kF64},
      {10, TensorType::kBF16}, {11, TensorType::kTF32},    {12, TensorType::kTF32Flush}};
  for (auto [value, type] : kTypes) {
    TensorMap map;
    map.type = TensorType::kU16;
    map.rank = 1, map.address = 256, map.extent[0] = 64, map.box[0] = 16;
    std::byte bytes[kTensorMapBytes];
    ASSERT_TRUE(encodeTensorMap(map, bytes).isOk());
    ASSERT_TRUE(replaceField(bytes, TensorField::kType, 0, value).isOk());
    auto decoded = decodeTensorMap(bytes);
    ASSERT_TRUE(decoded.isOk()) << decoded.status().toString();
    EXPECT_EQ(decoded->type, type);
    EXPECT_FALSE(replaceField(bytes, TensorField::kType, 0, 13).isOk());
    EXPECT_FALSE(replaceField(bytes, TensorField::kStride, 4, 16).isOk());
  }
}

} // namespace
} // namespace platen::ptxsim
