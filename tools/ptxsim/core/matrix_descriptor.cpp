#include "tools/ptxsim/core/matrix_descriptor.h"

#include "tools/ptxsim/core/matrix_state.h"

#include <algorithm>

namespace platen::ptxsim {
namespace {

uint32_t field(uint64_t bits, int low, int size) {
  return static_cast<uint32_t>(bits >> low & ((uint64_t{1} << size) - 1));
}

[[noreturn]] void illegal(uint64_t bits, std::string_view what, std::string_view why) {
  stop(ViolationKind::kIllegalInstruction, "the descriptor of " + std::string(what) + ", " +
                                               hexOf(bits) + ", is illegal: " + std::string(why));
}

MatrixLayout common(uint64_t bits, bool isMnMajor) {
  MatrixLayout layout;
  layout.start = field(bits, 0, 14) << 4;
  layout.leading = field(bits, 16, 14) << 4;
  layout.stride = field(bits, 32, 14) << 4;
  layout.base = field(bits, 49, 3);
  layout.isMnMajor = isMnMajor;
  return layout;
}

} // namespace

uint32_t MatrixLayout::chunkAt(uint32_t line, uint32_t chunk) const {
  uint32_t width = 1u << swizzle, address = start;
  if (wideAtoms) { // MN-major only: four k to a pattern of 512 bytes
    address += chunk % 8 * 16 + chunk / 8 * leading + line % 4 * 128 + line / 4 * stride;
    uint32_t row = (address >> 7) - base;
    return address ^ (row & 3) << 5;
  }
  if (!isMnMajor)
    address += line % 8 * 16 * width + line / 8 * stride + chunk * (swizzle == 0 ? leading : 16);
  else if (swizzle == 0)
    address += chunk * stride + line % 8 * 16 + line / 8 * leading;
  else
    address +=
        chunk % width * 16 + chunk / width * leading + line % 8 * 16 * width + line / 8 * stride;
  uint32_t row = (address >> 7) - base;
  return address ^ (row & (width - 1)) << 4;
}

MatrixLayout decodeWgmmaDescriptor(uint64_t bits, bool isMnMajor, std::string_view what) {
  MatrixLayout layout = common(bits, isMnMajor);
  if (field(bits, 14, 2) != 0 || field(bits, 30, 2) != 0 || field(bits, 46, 3) != 0 ||
      field(bits, 52, 10) != 0)
    illegal(bits, what, "reserved bits are set");
  constexpr uint32_t kSwizzles[] = {0, 3, 2, 1};
  layout.swizzle = kSwizzles[field(bits, 62, 2)];
  if (layout.swizzle == 0 && layout.base != 0)
    illegal(bits, what, "a base offset without swizzling");
  return layout;
}

MatrixLayout decodeTensorCore5Descriptor(uint64_t bits, bool isMnMajor, std::string_view what) {
  MatrixLayout layout = common(bits, isMnMajor);
  if (field(bits, 14, 2) != 0 || field(bits, 30, 2) != 0 || field(bits, 53, 8) != 0)
    illegal(bits, what, "reserved bits are set");
  if (field(bits, 46, 3) > 1) // the ISA asks for 0b001; Triton's kernels leave it 0 and run
    illegal(bits, what, "bits 46 to 48 are neither 0b001 nor 0");
  if (field(bits, 52, 1) != 0)
    illegal(bits, what, "the absolute leading-dimension mode is not executed");
  switch (field(bits, 61, 3)) {
  case 0:
    layout.swizzle = 0;
    break;
  case 1:
    layout.swizzle = 3, layout.wideAtoms = true;
    break;
  case 2:
    layout.swizzle = 3;
    break;
  case 4:
    layout.swizzle = 2;
    break;
  case 6:
    layout.swizzle = 1;
    break;
  default:
    illegal(bits, what, "no such swizzling mode");
  }
  if (layout.wideAtoms && !isMnMajor)
    illegal(bits, what, "128-byte swizzling in atoms of 32 bytes is executed for MN-major only");
  if (layout.swizzle == 0 && layout.base != 0)
    illegal(bits, what, "a base offset without swizzling");
  return layout;
}

namespace {

ChunkList listChunks(Block &block, const MatrixLayout &layout, uint32_t firstLine, uint32_t lines,
                     uint32_t firstChunk, uint32_t chunks, std::string_view what) {
  ChunkList list;
  list.offsets.reserve(size_t{lines} * chunks);
  for (uint32_t line = firstLine; line < firstLine + lines; ++line)
    for (uint32_t chunk = firstChunk; chunk < firstChunk + chunks; ++chunk) {
      uint32_t offset = layout.chunkAt(line, chunk);
      if (offset + 16 > block.shared.size())
        stop(ViolationKind::kOutOfBounds,
             std::string(what) + " reaches offset " + hexOf(offset) + " of " +
                 std::to_string(block.shared.size()) + " bytes of shared memory",
             0, offset);
      list.offsets.push_back(offset);
    }
  std::vector<uint32_t> sorted = list.offsets;
  std::sort(sorted.begin(), sorted.end());
  for (uint32_t offset : sorted) {
    SharedRange *last = list.ranges.empty() ? nullptr : &list.ranges.back();
    if (last && last->offset + last->bytes >= offset)
      last->bytes = std::max(last->bytes, offset + 16 - last->offset);
    else
      list.ranges.push_back({&block, offset, 16, false});
  }
  return list;
}

} // namespace

Chunks chunksOf(Block &block, const MatrixLayout &layout, uint32_t firstLine, uint32_t lines,
                uint32_t firstChunk, uint32_t chunks, std::string_view what) {
  constexpr size_t kMostLists = 4096;
  auto &lists = matrixState(block).chunkLists;
  if (lists.size() > kMostLists)
    lists.clear();
  uint32_t form = layout.base | layout.swizzle << 8 | (layout.wideAtoms ? 1u << 16 : 0) |
                  (layout.isMnMajor ? 1u << 17 : 0);
  Chunks &list = lists[{layout.start, layout.leading, layout.stride, form, firstLine, lines,
                        firstChunk, chunks}];
  if (!list)
    list = std::make_shared<const ChunkList>(
        listChunks(block, layout, firstLine, lines, firstChunk, chunks, what));
  return list;
}

} // namespace platen::ptxsim
