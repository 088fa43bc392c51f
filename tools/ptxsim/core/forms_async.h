// What the asynchronous instructions share.
#pragma once

#include "tools/ptxsim/core/asynchrony.h"
#include "tools/ptxsim/core/forms_memory.h"

namespace platen::ptxsim {

bool lowerMbarrier(Lowering &l, const Instruction &i);  // mbarrier.*
bool lowerBulk(Lowering &l, const Instruction &i);      // cp.async.bulk without .tensor, its groups
bool lowerTensor(Lowering &l, const Instruction &i);    // cp.async.bulk.tensor
bool lowerTensormap(Lowering &l, const Instruction &i); // tensormap.*
bool lowerStoreAsync(Lowering &l, const Instruction &i); // st.async, red.async

/// value: what is combined into the bytes at target; both of the type's size.
using Reducer = void (*)(uint8_t *target, const uint8_t *value);
Reducer reducerOf(const Instruction &i, Type type); // null: not executed

/// An operand of an op with many: lives in Code::lists, read lane by lane.
struct Argument {
  uint32_t slot = 0, wide = 0;
  int64_t offset = 0;
  uint64_t at(Warp &warp, uint32_t lane) const {
    if (wide)
      return warp.lanes<uint64_t>(slot)[lane] + static_cast<uint64_t>(offset);
    return static_cast<uint32_t>(warp.lanes<uint32_t>(slot)[lane] + static_cast<uint32_t>(offset));
  }
};
class Arguments {
public:
  explicit Arguments(Lowering &lowering) : lowering_(lowering) {}
  bool address(const Operand &operand); // [base + offset]; of its first element where it has more
  bool value(const Operand &operand, bool wide);
  void put(Op &op) const; // as op.list, op.count
  size_t size() const { return list_.size(); }

private:
  Lowering &lowering_;
  std::vector<Argument> list_;
};
Argument argument(Warp &warp, const Op &op, uint32_t number);

} // namespace platen::ptxsim
