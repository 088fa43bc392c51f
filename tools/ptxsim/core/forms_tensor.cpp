// cp.async.bulk.tensor, cp.reduce.async.bulk.tensor: tiles of 1 to 5 dimensions.
#include "tools/ptxsim/core/access.h"
#include "tools/ptxsim/core/forms_async.h"
#include "tools/ptxsim/core/tensor_map.h"

#include <bit>
#include <cstring>

namespace platen::ptxsim {
namespace {

enum : uint8_t { kMulticast = 1 };

/// A tile: where its elements lie in global memory and in the box.
struct Tile {
  TensorMap map;
  int64_t at[5] = {}; // coordinates of the first element
};

/// Calls f(position in the tile in bytes, bytes, global address or 0 where outside) for each run of
/// the innermost dimension.
template <class F> void overRows(const Tile &tile, F f) {
  const TensorMap &map = tile.map;
  uint32_t element = map.elementBytes(), width = map.tileExtent(0), count[5] = {};
  uint32_t position = 0;
  auto extent = static_cast<int64_t>(map.extent[0]);
  // The part of a row inside the tensor: elements [first, last).
  auto first = static_cast<uint32_t>(std::clamp<int64_t>(-tile.at[0], 0, width));
  auto last = static_cast<uint32_t>(std::clamp<int64_t>(extent - tile.at[0], first, width));
  while (true) {
    bool inside = first < last;
    auto address = static_cast<int64_t>(map.address) + (tile.at[0] + first) * element;
    for (uint32_t d = 1; d < map.rank; ++d) {
      int64_t c = tile.at[d] + int64_t{count[d]} * map.elementStride[d];
      inside &= c >= 0 && c < static_cast<int64_t>(map.extent[d]);
      address += c * static_cast<int64_t>(map.stride[d]);
    }
    uint32_t begin = inside ? first : width, end = inside ? last : width;
    if (begin > 0)
      f(position, begin * element, uint64_t{0});
    if (begin < end)
      f(position + begin * element, (end - begin) * element, static_cast<uint64_t>(address));
    if (end < width)
      f(position + end * element, (width - end) * element, uint64_t{0});
    position += width * element;
    uint32_t d = 1;
    while (d < map.rank && ++count[d] == map.tileExtent(d))
      count[d++] = 0;
    if (d >= map.rank)
      return;
  }
}

/// Copies between a row of the tile and shared memory, past the swizzle, in 16-byte chunks.
template <class F>
void overChunks(uint32_t offset, uint32_t position, uint32_t bytes, Swizzle swizzle, F f) {
  for (uint32_t done = 0; done < bytes;) {
    uint32_t address = offset + position + done;
    uint32_t chunk = std::min(bytes - done, 16 - address % 16);
    f(swizzled(address, swizzle), done, chunk);
    done += chunk;
  }
}

void fill(uint8_t *target, uint32_t bytes, const TensorMap &map) {
  if (!map.fillsNan) {
    std::memset(target, 0, bytes);
    return;
  }
  uint64_t nan = map.type == TensorType::kF64 ? 0x7FF8000000000000
                 : map.elementBytes() == 4    ? 0x7FFFFFFF
                                              : 0x7FFF;
  for (uint32_t at = 0; at < bytes; at += map.elementBytes())
    std::memcpy(target + at, &nan, map.elementBytes());
}

TensorMap mapAt(Warp &warp, uint64_t address, uint32_t lane) {
  if (address % 64 != 0)
    stop(ViolationKind::kMisaligned,
         "the tensor map at " + hexOf(address) + " is not aligned to 64 bytes", lane, address);
  const uint8_t *bytes = (address & kWindowMask) == kParamWindow
                             ? parameterBytes(warp, address & ~kWindowMask, kTensorMapBytes, lane)
                             : resolveGlobal(warp, address, kTensorMapBytes, kRead, lane, 64);
  auto map = decodeTensorMap(std::span<const std::byte, kTensorMapBytes>(
      reinterpret_cast<const std::byte *>(bytes), kTensorMapBytes));
  if (!map.isOk())
    stop(ViolationKind::kIllegalInstruction,
         "at " + hexOf(address) + ": " + std::string(map.status().message()), lane, address);
  return std::move(map.value());
}

/// Arguments 0: the map, 1…: coordinates; op.variant2 of them.
Tile tileOf(Warp &warp, const Op &op, uint32_t lane) {
  Tile tile;
  tile.map = mapAt(warp, argument(warp, op, 0).at(warp, lane), lane);
  if (tile.map.rank != op.variant2)
    stop(ViolationKind::kIllegalInstruction,
         "the tensor map has rank " + std::to_string(tile.map.rank) + ", the instruction " +
             std::to_string(op.variant2),
         lane);
  for (uint32_t d = 0; d < op.variant2; ++d)
    tile.at[d] = static_cast<int32_t>(argument(warp, op, 1 + d).at(warp, lane));
  return tile;
}

void alignTile(uint32_t offset, uint32_t lane) {
  if (offset % 128 != 0)
    stop(ViolationKind::kMisaligned,
         "the tile's shared address " + hexOf(offset) + " is no multiple of 128", lane, offset);
}

/// The bytes of shared memory that a tile covers (swizzling stays inside blocks of 1024 bytes).
SharedRange rangeOf(Block *block, uint32_t offset, const TensorMap &map, bool isWrite) {
  return {block, offset, map.tileBytes(), isWrite};
}

void load(Warp &warp, const Tile &tile, Block &block, uint32_t offset, uint32_t lane) {
  uint8_t *shared = block.shared.data();
  std::vector<uint8_t> row(tile.map.tileExtent(0) * tile.map.elementBytes());
  overRows(tile, [&](uint32_t position, uint32_t bytes, uint64_t address) {
    if (address != 0)
      std::memcpy(row.data(),
                  resolveGlobal(warp, address, bytes, kRead, lane, tile.map.elementBytes()), bytes);
    else
      fill(row.data(), bytes, tile.map);
    overChunks(offset, position, bytes, tile.map.swizzle,
               [&](uint32_t at, uint32_t done, uint32_t chunk) {
                 std::memcpy(shared + at, row.data() + done, chunk);
               });
  });
}

/// Arguments: map, coordinates, target, mbarrier[, blocks].
void runLoadTile(Warp &warp, const Op &op, uint32_t mask) {
  Cluster &cluster = *warp.block->cluster;
  uint32_t next = 1u + op.variant2;
  for (uint32_t l = 0; l < 32; ++l) {
    if (!(mask & 1u << l))
      continue;
    Tile tile = tileOf(warp, op, l);
    uint32_t offset = 0, barrier = 0;
    Block *target =
        &sharedBlock(warp, argument(warp, op, next).at(warp, l), tile.map.tileBytes(), l, offset);
    Block *signals = nullptr;
    alignTile(offset, l);
    mbarrierAt(warp, argument(warp, op, next + 1).at(warp, l), l, signals, barrier);
    bool multicast = op.variant & kMulticast;
    uint32_t blocks = 1u << target->rank;
    if (multicast)
      blocks = static_cast<uint32_t>(argument(warp, op, next + 2).at(warp, l)) & 0xFFFF;
    if (blocks >> cluster.blocks.size())
      stop(ViolationKind::kIllegalInstruction, "a multicast to blocks outside the cluster", l);
    for (uint32_t b = 0; b < cluster.blocks.size(); ++b) {
      if (!(blocks & 1u << b))
        continue;
      Block *receiver = &cluster.blocks[b];
      Pending pending;
      pending.lane = l;
      pending.mbarrierBlock = multicast ? receiver : signals;
      pending.mbarrier = barrier;
      pending.ranges.push_back(rangeOf(receiver, offset, tile.map, true));
      pending.perform = [&warp, tile, receiver, offset, l](const Pending &p) {
        load(warp, tile, *receiver, offset, l);
        completeTx(*p.mbarrierBlock, p.mbarrier, tile.map.tileBytes(), pendingClock(p));
      };
      issue(warp, op, std::move(pending));
    }
  }
}

void store(Warp &warp, const Tile &tile, std::span<const uint8_t> box, uint32_t offset,
           Reducer reducer, uint32_t step, uint32_t lane) {
  std::vector<uint8_t> row(tile.map.tileExtent(0) * tile.map.elementBytes());
  overRows(tile, [&](uint32_t position, uint32_t bytes, uint64_t address) {
    if (address == 0)
      return; // what lies outside of the tensor is not written
    overChunks(offset, position, bytes, tile.map.swizzle,
               [&](uint32_t at, uint32_t done, uint32_t chunk) {
                 std::memcpy(row.data() + done, box.data() + (at - offset), chunk);
               });
    uint8_t *out = resolveGlobal(warp, address, bytes, reducer ? kRead | kWrite | kAtomic : kWrite,
                                 lane, tile.map.elementBytes());
    if (!reducer)
      std::memcpy(out, row.data(), bytes);
    else
      for (uint32_t at = 0; at + step <= bytes; at += step)
        reducer(out + at, row.data() + at);
  });
}

/// The reducer follows from the map's type and the instruction's operation (op.variant).
Reducer reducerFor(TensorType type, uint8_t operation) {
  constexpr std::string_view kOperations[] = {"",   "add", "min", "max", "and",
                                              "or", "xor", "inc", "dec"};
  constexpr Type kTypes[] = {Type::kNone, Type::kNone, Type::kU32, Type::kS32, Type::kU64,
                             Type::kS64,  Type::kF16,  Type::kF32, Type::kF64, Type::kBF16,
                             Type::kF32,  Type::kNone, Type::kNone};
  Instruction named;
  named.parts = {"cp", kOperations[operation]};
  return reducerOf(named, kTypes[static_cast<size_t>(type)]);
}

/// Arguments: map, coordinates, source.
void runStoreTile(Warp &warp, const Op &op, uint32_t mask) {
  for (uint32_t l = 0; l < 32; ++l) {
    if (!(mask & 1u << l))
      continue;
    Tile tile = tileOf(warp, op, l);
    uint32_t offset = 0, bytes = tile.map.tileBytes();
    Block *own =
        &sharedBlock(warp, argument(warp, op, 1u + op.variant2).at(warp, l), bytes, l, offset);
    alignTile(offset, l);
    Reducer reducer = op.variant ? reducerFor(tile.map.type, op.variant) : nullptr;
    if (op.variant && !reducer)
      stop(ViolationKind::kIllegalInstruction, "the tensor's type has no such reduction", l);
    auto buffer = std::make_shared<std::vector<uint8_t>>();
    auto read = [=] {
      buffer->assign(own->shared.data() + offset, own->shared.data() + offset + bytes);
    };
    Pending pending;
    pending.track = Track::kBulk;
    pending.lane = l;
    pending.ranges.push_back(rangeOf(own, offset, tile.map, false));
    pending.readSources = read;
    pending.perform = [=, &warp](const Pending &p) {
      if (!p.sourcesRead)
        read();
      store(warp, tile, *buffer, offset, reducer, tile.map.elementBytes(), l);
    };
    issue(warp, op, std::move(pending));
  }
}

void runPrefetchTile(Warp &warp, const Op &op, uint32_t mask) {
  for (uint32_t l = 0; l < 32; ++l)
    if (mask & 1u << l)
      tileOf(warp, op, l); // the map must be one
}

uint8_t operationOf(const Instruction &i) {
  constexpr std::string_view kOperations[] = {"add", "min", "max", "and",
                                              "or",  "xor", "inc", "dec"};
  for (uint8_t n = 0; n < std::size(kOperations); ++n)
    if (Lowering::has(i, kOperations[n]))
      return static_cast<uint8_t>(n + 1);
  return 0;
}

} // namespace

bool lowerTensor(Lowering &l, const Instruction &i) {
  using L = Lowering;
  uint8_t rank = 0;
  for (std::string_view part : i.parts) {
    if (part.size() == 2 && part[1] == 'd' && part[0] >= '1' && part[0] <= '5')
      rank = static_cast<uint8_t>(part[0] - '0');
    if (part.starts_with("im2col") || part.starts_with("tile::"))
      return l.refuse("only tiles are executed, not ." + std::string(part));
  }
  bool prefetches = L::has(i, "prefetch"), stores = L::has(i, "bulk_group");
  bool reduces = i.parts[1] == "reduce", multicast = L::has(i, "multicast::cluster");
  uint8_t operation = reduces ? operationOf(i) : 0;
  if (rank == 0 || (reduces && operation == 0))
    return l.refuse("an unknown shape of cp.async.bulk.tensor");
  size_t needed = prefetches ? 1 : stores ? 2 : multicast ? 4 : 3;
  if (!l.operands(i, needed, needed + 1))
    return false;
  const Operand &source = i.operands[prefetches || stores ? 0 : 1];
  if (source.kind != Operand::Kind::kAddress || source.elements.size() != 2 ||
      source.elements[1].elements.size() != rank)
    return l.refuse("[tensor map, {coordinates}] with one coordinate a dimension is needed");
  Arguments arguments(l);
  if (!arguments.address(source))
    return false;
  for (const Operand &coordinate : source.elements[1].elements)
    if (!arguments.value(coordinate, false))
      return false;
  if (stores && !arguments.address(i.operands[1]))
    return false;
  if (!prefetches && !stores &&
      (!arguments.address(i.operands[0]) || !arguments.address(i.operands[2]) ||
       (multicast && !arguments.value(i.operands[3], false))))
    return false;
  Op &op = l.emit(prefetches ? &runPrefetchTile : stores ? &runStoreTile : &runLoadTile);
  op.variant = stores ? operation : multicast ? kMulticast : 0;
  op.variant2 = rank;
  if (stores) // tiles end at any element
    l.code().globalGranularity = 1;
  arguments.put(op);
  return true;
}

} // namespace platen::ptxsim
