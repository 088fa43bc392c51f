#include "tools/ptxsim/core/global_races.h"

#include <algorithm>

namespace platen::ptxsim {
namespace {

constexpr uint32_t kStrong = 1u << 31; // in a cell's writeTime

uint32_t timeSeen(const Cluster &cluster, uint32_t number) {
  auto it = cluster.globalSeen.find(number);
  return it == cluster.globalSeen.end() ? 0 : it->second;
}

[[noreturn]] void race(uint64_t address, uint32_t cluster, int access, bool otherWrites,
                       uint32_t lane) {
  std::string who = cluster == 0 ? "by other blocks"
                                 : "by block " + std::to_string(cluster - 1) +
                                       " (of the grid's blocks or clusters in their order)";
  stop(ViolationKind::kGlobalRace,
       std::string("this ") + (access & kWrite ? "write" : "read") + " of global address " +
           hexOf(address) + " races with a " + (otherWrites ? "write " : "read ") + who +
           ": no release and acquire orders them",
       lane, address);
}

} // namespace

GlobalRaces::GlobalRaces(const AllocationTable &table, uint32_t granularity)
    : table_(table), granularity_(granularity) {
  for (const Allocation &a : table_)
    pages_.push_back(std::make_unique<std::atomic<Page *>[]>(
        (a.end - a.begin + kPageCells * granularity_ - 1) / (kPageCells * granularity_)));
}

GlobalRaces::~GlobalRaces() = default;

GlobalRaces::Page &GlobalRaces::pageAt(size_t allocation, uint64_t page) {
  std::atomic<Page *> &place = pages_[allocation][page];
  if (Page *there = place.load(std::memory_order_acquire))
    return *there;
  std::lock_guard lock(mutex_);
  if (Page *there = place.load(std::memory_order_acquire))
    return *there;
  owned_.push_back(std::make_unique<Page>());
  place.store(owned_.back().get(), std::memory_order_release);
  return *owned_.back();
}

void GlobalRaces::touch(const Warp &warp, const Allocation &allocation, uint64_t address,
                        uint64_t bytes, int access, uint32_t lane) {
  if (bytes == 0)
    return;
  auto index = static_cast<size_t>(&allocation - table_.data());
  uint64_t first = (address - allocation.begin) / granularity_;
  uint64_t last = (address - allocation.begin + bytes - 1) / granularity_;
  while (first <= last) {
    uint64_t number = first / kPageCells;
    Page &page = pageAt(index, number);
    std::lock_guard lock(page.mutex);
    for (; first <= last && first / kPageCells == number; ++first)
      step(page.cells[first % kPageCells], warp, allocation.begin + first * granularity_, access,
           lane);
  }
}

void GlobalRaces::step(Cell &cell, const Warp &warp, uint64_t address, int access, uint32_t lane) {
  const Cluster &cluster = *warp.block->cluster;
  uint32_t self = cluster.number + 1;
  bool isStrong = access & kAtomic;
  if (cell.writer != 0 && cell.writer != self && !(isStrong && (cell.writeTime & kStrong)) &&
      timeSeen(cluster, cell.writer) < (cell.writeTime & ~kStrong))
    race(address, cell.writer, access, true, lane);
  if (access & kWrite) {
    bool races = cell.reader == kMany ? cluster.globalSeen.empty()
                                      : cell.reader != 0 && cell.reader != self &&
                                            timeSeen(cluster, cell.reader) < cell.readTime;
    if (races)
      race(address, cell.reader == kMany ? 0 : cell.reader, access, false, lane);
    cell = {self, cluster.globalTime | (isStrong ? kStrong : 0), 0, 0};
  } else if (!isStrong && cell.reader != kMany) {
    bool isAlone =
        cell.reader == 0 || cell.reader == self || timeSeen(cluster, cell.reader) >= cell.readTime;
    cell.reader = isAlone ? self : kMany;
    cell.readTime = cluster.globalTime;
  }
}

void GlobalRaces::synchronise(Cluster &cluster, uint64_t address, bool reads, bool writes,
                              uint32_t time) {
  auto merge = [](ClusterTimes &into, const ClusterTimes &from) {
    for (auto [number, when] : from)
      into[number] = std::max(into[number], when);
  };
  std::lock_guard lock(mutex_);
  if (auto it = words_.find(address); reads && it != words_.end())
    merge(cluster.globalSeen, it->second);
  if (!writes || time == 0)
    return;
  ClusterTimes &word = words_[address];
  merge(word, cluster.globalSeen);
  uint32_t &own = word[cluster.number + 1];
  own = std::max(own, time);
}

} // namespace platen::ptxsim
