#include "tools/ptxsim/core/races.h"

namespace platen::ptxsim {
namespace {

constexpr uint32_t kTimeShift = 7, kAtomicBit = 1u << 6, kAgentMask = 63;
constexpr size_t kMaxReaderSets = size_t{1} << 16;

uint32_t agentOf(uint32_t writer) { return writer & kAgentMask; }
uint32_t timeOf(uint32_t writer) { return writer >> kTimeShift; }

/// Cell::reader: 0, one reader as agent | time << 6, or kSetBit | number of a set.
constexpr uint32_t kSetBit = 1u << 31, kReaderTimeShift = 6;

/// Calls f(agent, time) for the readers that `reader` means.
template <class F> void overReaders(const Block &block, uint32_t reader, F f) {
  if (reader & kSetBit)
    for (auto [agent, time] : block.readerSets[reader ^ kSetBit].readers)
      f(agent, time);
  else if (reader != 0)
    f(static_cast<uint8_t>(reader & kAgentMask), reader >> kReaderTimeShift);
}

/// Drops the reader sets that no cell mentions.
void collect(Block &block) {
  std::vector<uint32_t> renamed(block.readerSets.size(), 0);
  std::vector<ReaderSet> kept(1);
  for (Cell &cell : block.cells) {
    if (!(cell.reader & kSetBit))
      continue;
    uint32_t &name = renamed[cell.reader ^ kSetBit];
    if (name == 0) {
      name = static_cast<uint32_t>(kept.size());
      kept.push_back(std::move(block.readerSets[cell.reader ^ kSetBit]));
    }
    cell.reader = name | kSetBit;
  }
  block.readerSets = std::move(kept);
  block.readerSteps.clear();
}

std::string agentName(const Block &block, uint32_t agent) {
  if (agent >= kWarpAgents)
    return "an asynchronous operation";
  auto warps = static_cast<uint32_t>(block.warps.size());
  std::string name = "warp " + std::to_string(agent % warps);
  if (block.cluster->blocks.size() > 1)
    name += " of block " + std::to_string(agent / warps) + " of the cluster";
  return name;
}

} // namespace

void RaceCheck::race(uint32_t offset, uint32_t agent, bool otherWrites, bool fenceMissing) {
  std::string text = who_.viaAsyncProxy ? "an asynchronous operation " : "this ";
  text += access_ & kWrite ? "write of shared address " : "read of shared address ";
  text += hexOf(offset) + (fenceMissing ? " is ordered after a write by " : " races with a ");
  if (!fenceMissing)
    text += otherWrites ? "write by " : "read by ";
  text += agentName(block_, agent);
  text += fenceMissing ? ", but no fence.proxy.async lies between them"
                       : ": no barrier or other synchronisation orders them";
  if (laneBytes_ != 0)
    lane_ = (offset - first_) / laneBytes_;
  stop(ViolationKind::kSharedRace, text, lane_, offset);
}

uint32_t RaceCheck::addReader(uint32_t reader) {
  uint32_t alone = who_.agent | who_.time << kReaderTimeShift;
  // Readers ordered before this one need no entry: who is ordered after it is ordered after them.
  bool concurrent = false, isThere = false;
  overReaders(block_, reader, [&](uint8_t agent, uint32_t time) {
    concurrent |= agent != who_.agent && who_.clock->of[agent] < time;
    isThere |= agent == who_.agent && time >= who_.time;
  });
  if (!concurrent)
    return alone;
  if (isThere)
    return reader;
  uint64_t key = uint64_t{reader} << 32 | alone;
  auto [it, isNew] = block_.readerSteps.try_emplace(key, 0);
  if (!isNew)
    return it->second;
  ReaderSet grown;
  overReaders(block_, reader, [&](uint8_t agent, uint32_t time) {
    if (agent != who_.agent && who_.clock->of[agent] < time)
      grown.readers.emplace_back(agent, time);
  });
  grown.readers.emplace_back(static_cast<uint8_t>(who_.agent), who_.time);
  it->second = static_cast<uint32_t>(block_.readerSets.size()) | kSetBit;
  block_.readerSets.push_back(std::move(grown));
  return it->second;
}

void RaceCheck::step(uint64_t state, uint32_t offset) {
  if (block_.readerSets.size() > kMaxReaderSets) {
    collect(block_); // renumbers: the state that was read is stale
    std::memcpy(&state, &block_.cells[offset / block_.cluster->state->code->sharedGranularity], 8);
  }
  known_ = true;
  before_ = state;
  Cell cell;
  std::memcpy(&cell, &state, 8);
  if (cell.writer != 0) {
    uint32_t agent = agentOf(cell.writer), time = timeOf(cell.writer);
    bool proxies = who_.viaAsyncProxy && agent < kWarpAgents;
    bool ordered = agent == who_.agent || who_.clock->of[agent] >= time;
    bool bothStrong = (cell.writer & kAtomicBit) && (access_ & kAtomic);
    if (!ordered && !bothStrong)
      race(offset, agent, true, false);
    if (proxies && who_.clock->fenced[agent] < time)
      race(offset, agent, true, true);
  }
  if (access_ & kWrite) {
    overReaders(block_, cell.reader, [&](uint8_t agent, uint32_t time) {
      if (agent != who_.agent && who_.clock->of[agent] < time)
        race(offset, agent, false, false);
    });
    cell.writer = who_.agent | (access_ & kAtomic ? kAtomicBit : 0) | who_.time << kTimeShift;
    cell.reader = 0;
  } else if (!(access_ & kAtomic)) {
    cell.reader = addReader(cell.reader);
  }
  std::memcpy(&after_, &cell, 8);
}

void strengthen(Block &block, uint32_t offset, uint32_t bytes) {
  uint32_t granularity = block.cluster->state->code->sharedGranularity;
  for (uint32_t c = offset / granularity; c <= (offset + bytes - 1) / granularity; ++c)
    if (c < block.cells.size())
      block.cells[c].writer |= kAtomicBit;
}

void touchShared(Block &block, uint32_t offset, uint32_t bytes, int access, const Accessor &who,
                 uint32_t lane) {
  if (block.cells.empty() || bytes == 0)
    return;
  RaceCheck(block, access, who, lane)
      .touch(offset, bytes, block.cluster->state->code->sharedGranularity);
}

} // namespace platen::ptxsim
