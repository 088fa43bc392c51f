#include "tools/ptxsim/core/tensor_memory.h"

#include "tools/ptxsim/core/matrix_state.h"

#include <algorithm>
#include <bit>

namespace platen::ptxsim {
namespace {

[[noreturn]] void illegal(std::string message) {
  stop(ViolationKind::kIllegalInstruction, std::move(message));
}

std::string describe(const TensorRegion &r) {
  return "tensor-memory columns " + std::to_string(r.column) + " to " +
         std::to_string(r.column + r.columns - 1);
}

constexpr std::string_view kUserNames[] = {"tcgen05.mma", "tcgen05.cp", "tcgen05.ld", "tcgen05.st"};

} // namespace

uint32_t TensorMemory::allocate(uint32_t columns) {
  if (columns < 32 || columns > kTensorColumns || !std::has_single_bit(columns))
    illegal("tcgen05.alloc of " + std::to_string(columns) +
            " columns: a power of two from 32 to 512 is needed");
  if (!mayAllocate_)
    illegal("tcgen05.alloc after tcgen05.relinquish_alloc_permit");
  if (columns > smallest_)
    illegal("tcgen05.alloc of " + std::to_string(columns) + " columns after one of " +
            std::to_string(smallest_) + ": the number must not increase");
  smallest_ = columns;
  for (uint32_t column = 0; column + columns <= kTensorColumns; column += columns) {
    TensorRegion wanted{column, columns, 0xFF};
    bool isFree = std::none_of(allocations_.begin(), allocations_.end(), [&](const Allocation &a) {
      return wanted.overlaps({a.column, a.columns, 0xFF});
    });
    if (isFree) {
      allocations_.push_back({column, columns});
      return column;
    }
  }
  stop(ViolationKind::kDeadlock,
       "tcgen05.alloc of " + std::to_string(columns) +
           " columns would wait for ever: the block itself holds too many of the 512");
}

void TensorMemory::release(uint32_t address, uint32_t columns) {
  auto it = std::find_if(allocations_.begin(), allocations_.end(), [&](const Allocation &a) {
    return a.column == address && a.columns == columns;
  });
  if (it == allocations_.end())
    illegal("tcgen05.dealloc of " + std::to_string(columns) + " columns at " + hexOf(address) +
            ", which no tcgen05.alloc returned");
  TensorRegion region{it->column, it->columns, 0xFF};
  for (const Flight &flight : flights_)
    if (flight.region.overlaps(region))
      illegal("tcgen05.dealloc of columns that a " +
              std::string(kUserNames[static_cast<int>(flight.user)]) + " in flight (line " +
              std::to_string(flight.line) + ") uses");
  allocations_.erase(it);
  std::fill_n(written_.begin() + region.column * kTensorLanes, columns * kTensorLanes, 0);
  std::fill_n(stores_.begin() + region.column * 8, columns * 8, Store{});
}

std::string TensorMemory::leaks() const {
  std::string text;
  for (const Allocation &a : allocations_)
    text += (text.empty() ? "" : ", ") + std::to_string(a.columns) + " columns at " +
            std::to_string(a.column);
  return text;
}

void TensorMemory::check(const TensorRegion &region, User user, bool isWrite,
                         const Warp &warp) const {
  bool isInside = std::any_of(allocations_.begin(), allocations_.end(), [&](const Allocation &a) {
    return region.column >= a.column && region.column + region.columns <= a.column + a.columns;
  });
  if (!isInside)
    stop(ViolationKind::kOutOfBounds, describe(region) + " do not lie in one allocation");
  for (const Flight &flight : flights_) {
    if (!(flight.isWrite || isWrite) || !flight.region.overlaps(region))
      continue;
    // Operations of the tensor core are ordered among themselves (mma after mma, mma after cp).
    bool isPipelined =
        user == User::kMma && (flight.user == User::kMma || flight.user == User::kCopy);
    if (!isPipelined && !(user == User::kCopy && flight.user == User::kMma && !flight.isWrite))
      illegal(describe(region) + " are in use by the " +
              std::string(kUserNames[static_cast<int>(flight.user)]) + " of line " +
              std::to_string(flight.line) +
              (flight.user == User::kLoad || flight.user == User::kStore
                   ? ", which no tcgen05.wait has awaited"
                   : ", whose completion has not been waited for"));
  }
  if (!warp.block->cluster->state->options->checkTensorFences)
    return;
  checkStores(region, warp);
  if (user != User::kLoad && user != User::kStore)
    return;
  for (uint32_t column = region.column; column < region.column + region.columns; ++column)
    if (finished_[column] > fences_.at(warp.index))
      illegal("a tcgen05.mma or cp wrote " + describe(region) +
              " and the warp has executed no tcgen05.fence::after_thread_sync since");
}

void TensorMemory::checkStores(const TensorRegion &region, const Warp &warp) const {
  for (uint32_t n = region.column * 8; n < (region.column + region.columns) * 8; ++n) {
    const Store &store = stores_[n];
    if (!(region.lanes >> n % 8 & 1) || store.line == 0 || store.agent == warp.agent ||
        warp.tensorSeen[store.agent] >= store.time)
      continue;
    bool isPublished = warp.clock.tensor[store.agent] >= store.time;
    illegal("the tcgen05.st of warp " + std::to_string(store.warp) + " in line " +
            std::to_string(store.line) + " wrote " + describe(region) + ", and " +
            (isPublished ? "this warp has executed no tcgen05.fence::after_thread_sync since it "
                           "synchronised with that warp"
                         : "no tcgen05.fence::before_thread_sync lies between that and what "
                           "synchronises the warps, if anything does"));
  }
}

void TensorMemory::noteStore(const TensorRegion &region, const Warp &warp, const Op &op) {
  for (uint32_t n = region.column * 8; n < (region.column + region.columns) * 8; ++n)
    if (region.lanes >> n % 8 & 1)
      stores_[n] = {warp.agent, warp.clock.of[warp.agent], warp.index, op.line};
}

uint64_t TensorMemory::begin(const TensorRegion &region, User user, bool isWrite, const Warp &warp,
                             const Op &op) {
  flights_.push_back({++flightNumber_, region, user, isWrite, warp.index, op.line});
  return flightNumber_;
}

void TensorMemory::end(uint64_t number) {
  std::erase_if(flights_, [&](const Flight &flight) { return flight.number == number; });
}

void TensorMemory::endOf(const Warp &warp, User user) {
  std::erase_if(flights_, [&](const Flight &flight) {
    return flight.warp == warp.index && flight.user == user;
  });
}

void TensorMemory::finishWrite(const TensorRegion &region) {
  ++clock_;
  std::fill_n(finished_ + region.column, region.columns, clock_);
}

void TensorMemory::requireWritten(const TensorRegion &region, const char *what) const {
  for (uint32_t column = region.column; column < region.column + region.columns; ++column)
    for (uint32_t lane = 0; lane < kTensorLanes; ++lane)
      if ((region.lanes >> lane / 16 & 1) && !written_[column * kTensorLanes + lane])
        stop(ViolationKind::kUninitialisedRead,
             std::string(what) + " reads tensor memory, lane " + std::to_string(lane) +
                 ", column " + std::to_string(column) + ", which nobody wrote");
}

TensorMemory &tensorMemory(Block &block) {
  MatrixState &state = matrixState(block);
  if (!state.tensorMemory) {
    state.tensorMemory = std::make_shared<TensorMemory>();
    state.tensorMemory->setWarps(block.warps.size());
  }
  return *state.tensorMemory;
}

void finishMatrixState(Block &block) {
  if (!block.matrixState || !matrixState(block).tensorMemory)
    return;
  if (std::string leaks = matrixState(block).tensorMemory->leaks(); !leaks.empty())
    illegal("the block ends without tcgen05.dealloc of " + leaks);
}

} // namespace platen::ptxsim
