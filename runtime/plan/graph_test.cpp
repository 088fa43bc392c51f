// Plans of graphs: written, read back, and as an enemy or a bad disk would have them.
#include "runtime/plan/graph.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <limits>

#include "runtime/plan/codec.h"
#include "runtime/plan/hash.h"
#include "runtime/plan/header.h"
#include "runtime/plan/reader.h"
#include "runtime/plan/testing/tiny_graph.h"

namespace platen::plan {
namespace {

using base::Size;
using base::Status;
using base::StatusCode;
using ::testing::HasSubstr;
using Bytes = std::vector<std::byte>;

Bytes bytesOf(const std::function<Status(const std::string &)> &write) {
  auto path = std::filesystem::temp_directory_path() /
              ("platen_graph_" + std::to_string(getpid()) + ".plan");
  Status status = write(path);
  EXPECT_TRUE(status.isOk()) << status.toString();
  std::ifstream stream(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(stream), {}};
  std::filesystem::remove(path);
  auto view = std::as_bytes(std::span(text));
  return {view.begin(), view.end()};
}

/// The tiny graph for the host and for CUDA.
const Bytes &goodPlan() {
  static const Bytes bytes = bytesOf([](const std::string &path) {
    return testing::writeTinyGraph(path, {.cuda_targets = {{"sm_80", {"sm_80"}}}});
  });
  return bytes;
}

base::Result<Manifest> read(std::span<const std::byte> bytes) {
  return readManifest(bytes, {.hash_threads = 1}, "test.plan");
}

/// The good plan with another manifest, whose hash and the header's are right.
Bytes withManifest(const std::string &encoded, uint32_t version = kGraphFormatVersion) {
  Bytes bytes = goodPlan();
  auto header = decodeHeader(bytes);
  bytes.resize(header->manifest_offset);
  auto manifest = std::as_bytes(std::span(encoded));
  bytes.insert(bytes.end(), manifest.begin(), manifest.end());
  header->manifest_bytes = manifest.size();
  header->manifest_xxh3 = hashBytes(manifest);
  header->file_bytes = bytes.size();
  header->version = version;
  auto encoded_header = encodeHeader(*header);
  std::copy(encoded_header.begin(), encoded_header.end(), bytes.begin());
  return bytes;
}

Manifest goodManifest() { return *read(goodPlan()); }

TEST(Graph, ReadsBackEveryField) {
  Manifest manifest = goodManifest();
  ASSERT_TRUE(manifest.graph.has_value());
  const GraphSignature &graph = *manifest.graph;
  EXPECT_EQ(graph.symbols, (std::vector<Symbol>{{"n", 1, 1000}, {"m", 0, 100}}));
  ASSERT_EQ(graph.inputs.size(), 2U);
  EXPECT_EQ(graph.inputs[1].name, "b");
  EXPECT_EQ(graph.inputs[1].dtype, base::DType::kI32);
  EXPECT_EQ(graph.inputs[1].dims, (std::vector<Size>{Size::symbol(1), 4}));
  ASSERT_EQ(graph.outputs.size(), 2U);
  EXPECT_EQ(graph.outputs[1].buffer, 4U);
  ASSERT_EQ(manifest.programs.size(), 2U);
  for (const DeviceProgram &program : manifest.programs) {
    EXPECT_EQ(program.buffers[2].bytes, Size::symbol(0) * Size::symbol(1) * Size(16));
    EXPECT_EQ(program.buffers[2].slot, 2U);
    EXPECT_EQ(program.launches[0].points, Size::symbol(0) * Size::symbol(1));
  }
  std::string encoded = encodeManifest(manifest);
  EXPECT_EQ(*decodeManifest(std::as_bytes(std::span(encoded))), manifest);
  EXPECT_EQ(decodeHeader(goodPlan())->version, kGraphFormatVersion);
}

TEST(Graph, PlansOfDecodersNeedNoNewVersion) {
  Bytes decoder = bytesOf([](const std::string &path) { return testing::writeTinyPlan(path); });
  EXPECT_EQ(decodeHeader(decoder)->version, kFormatVersion);
}

TEST(Graph, RefusesAHeaderOfTheOtherKind) {
  std::string graph = encodeManifest(goodManifest());
  EXPECT_TRUE(read(withManifest(graph)).isOk());
  EXPECT_THAT(read(withManifest(graph, kFormatVersion)).status().toString(),
              HasSubstr("version 1 is that of a decoder, but the manifest has a graph"));
  Manifest none = goodManifest();
  none.graph.reset();
  EXPECT_THAT(read(withManifest(encodeManifest(none))).status().toString(),
              HasSubstr("version 2 is that of a graph, but the manifest has none"));
}

TEST(Graph, RefusesEveryFlippedBit) {
  Bytes bytes = goodPlan();
  auto header = decodeHeader(bytes);
  auto flip = [&](size_t at, int bit) {
    bytes[at] ^= static_cast<std::byte>(1 << bit);
    ASSERT_FALSE(read(bytes).isOk()) << "bit " << bit << " of byte " << at;
    bytes[at] ^= static_cast<std::byte>(1 << bit);
  };
  for (size_t at = 0; at < bytes.size(); ++at) // header and manifest whole, sections in part
    for (int bit = 0; bit < 8; ++bit) {
      if (at >= kHeaderBytes && at < header->manifest_offset && (at * 8 + bit) % 61 != 0)
        continue;
      ASSERT_NO_FATAL_FAILURE(flip(at, bit));
    }
  EXPECT_TRUE(read(bytes).isOk());
}

/// With right hashes, a flipped bit of the manifest may mean another plan, which must be as sound.
TEST(Graph, FlippedBitsUnderRightHashesAreSoundOrRefused) {
  std::string good = encodeManifest(goodManifest());
  size_t accepted = 0;
  for (size_t at = 0; at < good.size(); ++at)
    for (int bit = 0; bit < 7; ++bit) { // of text, the last would give no UTF-8
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ (1 << bit));
      auto manifest = read(withManifest(bad));
      if (!manifest.isOk())
        continue;
      ++accepted;
      std::vector<int64_t> greatest;
      for (const Symbol &symbol : manifest->graph->symbols)
        greatest.push_back(static_cast<int64_t>(symbol.greatest));
      for (const DeviceProgram &program : manifest->programs)
        for (const Buffer &buffer : program.buffers)
          ASSERT_LE(*buffer.bytes.evaluate(greatest), static_cast<int64_t>(kMaxArenaBytes));
    }
  EXPECT_GT(accepted, 0U);
}

struct Mutation {
  const char *name;
  std::function<void(Manifest &)> apply;
  const char *message; // part of the status
};
void PrintTo(const Mutation &mutation, std::ostream *out) { *out << mutation.name; }

/// A size that has that many terms.
Size longSize(uint32_t terms) {
  std::vector<Size::Term> list;
  for (uint32_t i = 0; i < terms; ++i)
    list.push_back({std::vector<uint32_t>(i, 1), 1});
  return *Size::of(std::move(list));
}

const std::vector<Mutation> &mutations() {
  constexpr uint64_t kHuge = ~uint64_t{0};
  const Size n = Size::symbol(0);
  static const std::vector<Mutation> all = {
      {"Limits", [](Manifest &m) { m.limits.step_tokens = 1; },
       "graph: the plan has limits or a model"},
      {"Model", [](Manifest &m) { m.model.vocabulary = 1; },
       "graph: the plan has limits or a model"},
      {"WeightFormat", [](Manifest &m) { m.model.weight_format = "\x1b"; },
       "graph: weight_format holds control characters"},
      {"NoOutput", [](Manifest &m) { m.graph->outputs.clear(); }, "graph: it has no output"},
      {"InputsMany", [](Manifest &m) { m.graph->inputs.resize(1025); }, "1025 inputs"},
      {"SymbolsMany", [](Manifest &m) { m.graph->symbols.resize(65, {"n", 0, 1}); },
       "65 symbols, more than 64"},
      {"SymbolGreatestZero", [](Manifest &m) { m.graph->symbols[1] = {"m", 0, 0}; },
       "symbols[1] 'm': greatest is 0"},
      {"SymbolGreatestHuge", [](Manifest &m) { m.graph->symbols[1].greatest = kHuge; },
       "symbols[1] 'm': greatest is"},
      {"SymbolRangeEmpty", [](Manifest &m) { m.graph->symbols[0].least = 1001; },
       "symbols[0] 'n': least is 1001, must be in [0, 1000]"},
      {"SymbolTwice", [](Manifest &m) { m.graph->symbols[1].name = "n"; },
       "symbols[1] 'n': it has no name, or another has that name too"},
      {"SymbolNameless", [](Manifest &m) { m.graph->symbols[1].name = ""; }, "it has no name"},
      {"SymbolUnbound", [](Manifest &m) { m.graph->symbols.push_back({"k", 0, 1}); },
       "symbols[2] 'k': no dimension of an input is that symbol alone"},
      {"InputNameless", [](Manifest &m) { m.graph->inputs[0].name = ""; },
       "inputs[0]: it has no name"},
      {"InputNameWithEscape", [](Manifest &m) { m.graph->inputs[0].name = "\x1b"; },
       "inputs[0]: its name holds control characters"},
      {"InputTwice", [](Manifest &m) { m.graph->inputs[1].name = "a"; },
       "inputs[1] 'a': another has that name too"},
      {"OutputTwice", [](Manifest &m) { m.graph->outputs[1].name = "total"; },
       "outputs[1] 'total': another has that name too"},
      {"InputBuffer", [](Manifest &m) { m.graph->inputs[0].buffer = 5; },
       "inputs[0] 'a': programs[0]: buffer is 5, but there are only 5"},
      {"BufferTwice", [](Manifest &m) { m.graph->outputs[1].buffer = 3; },
       "outputs[1] 'sums': buffer 3 is another input's or output's too"},
      {"BufferOfAnotherSize",
       [](Manifest &m) { m.programs[1].buffers[0].bytes = Size::symbol(0) * Size(12); },
       "inputs[0] 'a': programs[1]: its buffer has 12*s0 bytes, but 16*s0 are due"},
      {"Dtype", [](Manifest &m) { m.graph->inputs[0].dtype = static_cast<base::DType>(99); },
       "inputs[0] 'a': dtype 99"},
      {"DtypeOfHalfBytes", [](Manifest &m) { m.graph->inputs[0].dtype = base::DType::kI4; },
       "UNSUPPORTED: test.plan: manifest: graph: inputs[0] 'a': a tensor of i4 needs dimensions"},
      {"Rank", [](Manifest &m) { m.graph->inputs[0].dims.resize(9, 1); },
       "inputs[0] 'a': 9 dimensions"},
      {"DimensionSymbol", [](Manifest &m) { m.graph->inputs[0].dims[1] = Size::symbol(2); },
       "inputs[0] 'a': dims[1]: symbol is 2, but there are only 2"},
      {"DimensionHuge", [](Manifest &m) { m.graph->inputs[0].dims[1] = int64_t{1} << 41; },
       "dims[1]: 2199023255552 is up to 2199023255552"},
      {"DimensionLong",
       [](Manifest &m) {
         m.graph->symbols[1].greatest = 1;
         m.graph->inputs[0].dims[1] = longSize(17);
       },
       "inputs[0] 'a': a dimension is a sum of more than 16 terms"},
      {"BufferBytesHuge", [](Manifest &m) { m.programs[0].buffers[2].bytes = int64_t{1} << 45; },
       "programs[0] 'host': buffers[2] 'products': bytes: 35184372088832 is up to"},
      {"BufferBytesOverflow",
       [n](Manifest &m) { m.programs[0].buffers[2].bytes = n * n * n * n * n * n * n; },
       "buffers[2] 'products': bytes: at the symbols' greatest values s0*s0*s0*s0*s0*s0*s0 does "
       "not fit"},
      {"BufferBytesNegativeOverflow",
       [n](Manifest &m) { m.programs[0].buffers[2].bytes = Size(1) - n * n * n * n * n * n * n; },
       "does not fit 62 bits"},
      {"BufferBytesLargestNumber",
       [](Manifest &m) { m.programs[0].buffers[2].bytes = std::numeric_limits<int64_t>::max(); },
       "does not fit 62 bits"},
      {"BufferBytesLeastNumber",
       [](Manifest &m) { m.programs[0].buffers[2].bytes = std::numeric_limits<int64_t>::min(); },
       "does not fit 62 bits"},
      {"BufferBytesLong", [](Manifest &m) { m.programs[0].buffers[2].bytes = longSize(65); },
       "a sum of 65 terms"},
      {"BufferBytesSymbol", [](Manifest &m) { m.programs[0].buffers[2].bytes = Size::symbol(~0U); },
       "buffers[2] 'products': bytes: symbol is 4294967295"},
      {"ArenaHuge",
       [](Manifest &m) {
         for (DeviceProgram &program : m.programs)
           program.buffers.resize(8, {.name = "big", .bytes = int64_t{1} << 42, .slot = 5});
         for (uint32_t i = 5; i < 8; ++i)
           m.programs[0].buffers[i] = {.name = "big", .bytes = int64_t{3} << 42, .slot = i};
       },
       "the sum of the slots at the symbols' greatest values is"},
      {"Slot", [](Manifest &m) { m.programs[0].buffers[2].slot = 5; },
       "buffers[2] 'products': slot is 5, but there are only 5"},
      {"SlotOfInputShared", [](Manifest &m) { m.programs[0].buffers[2].slot = 0; },
       "buffers[0] 'a': it shares its slot with others, but it is the buffer of 'a'"},
      {"SlotOfOutputShared", [](Manifest &m) { m.programs[0].buffers[3].slot = 4; },
       "it shares its slot with others"},
      {"BufferRows", [](Manifest &m) { m.programs[0].buffers[2].row_bytes = 4; },
       "buffers[2] 'products': it has rows"},
      {"BufferPlace", [](Manifest &m) { m.programs[0].buffers[2].arena_offset = 64; },
       "buffers[2] 'products': it has rows or a place in the arena"},
      {"BufferExtent", [](Manifest &m) { m.programs[0].buffers[2].extent = Extent::kTokens; },
       "buffers[2] 'products': it has rows"},
      {"Caches", [](Manifest &m) { m.programs[0].caches.resize(1); }, "it has caches"},
      {"ArenaBytes", [](Manifest &m) { m.programs[0].arena_bytes = 64; }, "an arena's size"},
      {"LogitsBuffer", [](Manifest &m) { m.programs[0].logits_buffer = 1; }, "logits"},
      {"HiddenBuffer", [](Manifest &m) { m.programs[0].hidden_buffer = 0; }, "hidden states"},
      {"Sampler", [](Manifest &m) { m.programs[1].sampler = 0; }, "or a sampler"},
      {"LaunchExtent", [](Manifest &m) { m.programs[0].launches[0].extent = Extent::kRows; },
       "launches[0] 'outer': extent is 2, must be that of tokens"},
      {"LaunchPointsHuge", [](Manifest &m) { m.programs[0].launches[0].points = int64_t{1} << 41; },
       "launches[0] 'outer': points: 2199023255552 is up to"},
      {"LaunchPointsSymbol",
       [](Manifest &m) { m.programs[0].launches[0].points = Size::symbol(2); },
       "launches[0] 'outer': points: symbol is 2"},
      {"UnitsHuge",
       [](Manifest &m) { m.programs[0].launches[0].variants[0].units.times = 1 << 24; },
       "launches[0] 'outer': variants[0]: the number of units is 1677721600000, must be"},
      {"UnitsOverflow",
       [](Manifest &m) {
         m.programs[0].launches[0].points = int64_t{1} << 40;
         m.programs[0].launches[0].variants[0].units.times = uint64_t{1} << 40;
       },
       "variants[0]: the number of units"},
      {"GridHuge",
       [](Manifest &m) {
         Phase &phase = m.programs[1].kernels[0].cuda->phases[0];
         phase.grid_y = phase.grid_x;
         phase.grid_y.times = 30;
       },
       "kernels[0] 'outer_i32__ptx_v1': phases[0]: grid_y: the number of blocks is 93750"},
      {"GridOverflow",
       [](Manifest &m) {
         m.programs[1].launches[0].points = int64_t{1} << 40;
         Phase &phase = m.programs[1].kernels[0].cuda->phases[0];
         phase.grid_x = {Extent::kRows, 1, 1U << 30};
       },
       "kernels[0] 'outer_i32__ptx_v1': phases[0]: grid_x: the number of blocks"},
      {"OperandCache",
       [](Manifest &m) { m.programs[0].launches[0].operands[0] = {OperandKind::kCache, 0}; },
       "operands[0]: cache is 0, but there are only 0"},
  };
  return all;
}

class GraphMutation : public ::testing::TestWithParam<Mutation> {};

TEST_P(GraphMutation, IsRefusedByName) {
  Manifest manifest = goodManifest();
  GetParam().apply(manifest);
  Status status = read(withManifest(encodeManifest(manifest))).status();
  ASSERT_FALSE(status.isOk());
  EXPECT_THAT(status.toString(), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(All, GraphMutation, ::testing::ValuesIn(mutations()),
                         [](const auto &info) { return std::string(info.param.name); });

TEST(Graph, DecodersHaveNothingOfGraphs) {
  Bytes decoder = bytesOf([](const std::string &path) { return testing::writeTinyPlan(path); });
  auto manifest = read(decoder);
  ASSERT_TRUE(manifest.isOk());
  auto refused = [&](const std::function<void(Manifest &)> &apply) {
    Manifest changed = *manifest;
    apply(changed);
    return validate(changed, decoder.size()).toString();
  };
  EXPECT_THAT(refused([](Manifest &m) { m.programs[0].buffers[1].bytes = 4; }),
              HasSubstr("buffers[1] 'hidden': it has a size or a slot of its own"));
  EXPECT_THAT(refused([](Manifest &m) { m.programs[0].buffers[1].slot = 1; }),
              HasSubstr("buffers[1] 'hidden': it has a size or a slot of its own"));
  EXPECT_THAT(refused([](Manifest &m) { m.programs[0].launches[1].points = 4; }),
              HasSubstr("launches[1] 'store': it has points of its own"));
}

TEST(Graph, SizesMayFallWhereSymbolsGrow) {
  // 100 - m is largest where m is least.
  Manifest manifest = goodManifest();
  Size falling = Size(int64_t{1} << 44) - Size::symbol(1);
  manifest.programs[0].buffers[2].bytes = falling;
  EXPECT_THAT(read(withManifest(encodeManifest(manifest))).status().toString(),
              HasSubstr("the sum of the slots"));
  manifest.programs[0].buffers[2].bytes = falling - Size(1 << 20);
  EXPECT_TRUE(read(withManifest(encodeManifest(manifest))).isOk());
}

TEST(Graph, BytesOfTensors) {
  Size n = Size::symbol(0);
  EXPECT_EQ(*tensorBytes(base::DType::kI64, {}), Size(8));
  std::vector<Size> dims{n, n + Size(1), 3};
  EXPECT_EQ(*tensorBytes(base::DType::kF16, dims), n * n * Size(6) + n * Size(6));
  std::vector<Size> odd{3, 5};
  EXPECT_EQ(*tensorBytes(base::DType::kU4, odd), Size(8));
  EXPECT_EQ(*tensorBytes(base::DType::kBool, odd), Size(15));
  std::vector<Size> long_dims(8, longSize(10));
  EXPECT_EQ(tensorBytes(base::DType::kF32, long_dims).status().code(), StatusCode::kCorrupt);
}

TEST(Graph, NamesSizesAsTheirSymbolsAre) {
  std::vector<Symbol> symbols{{"batch", 1, 8}, {"past", 0, 9}};
  Size batch = Size::symbol(0), past = Size::symbol(1);
  EXPECT_EQ(toString(batch * past * Size(2) + Size(3), symbols), "2*batch*past + 3");
  EXPECT_EQ(toString(batch, symbols), "batch");
  EXPECT_EQ(toString(0, symbols), "0");
  EXPECT_EQ(soleSymbol(past), 1);
  for (const Size &other : {past + Size(1), past * Size(2), past * past, Size(1), Size(0)})
    EXPECT_EQ(soleSymbol(other), -1);
}

} // namespace
} // namespace platen::plan
