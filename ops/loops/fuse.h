// Puts the expression that computes a tensor into the program that reads it, so that the tensor
// need not exist.
#pragma once

#include "ops/loops/program.h"

#include <optional>

namespace platen::ops::loops {

/// Whether a program does nothing but compute every element of one tensor from its coordinates: one
/// unconditional store at the point's own coordinates, all axes parallel, nothing loaded that it
/// stores. Such programs can be put into others.
bool isPointwise(const Program &program);

/// Nodes that a point of the program evaluates, folds counted as many: what putting it into a
/// reader costs each time.
uint64_t pointCost(const Program &program);

/// `reader` with every load of its tensor `tensor` replaced by what the pointwise `producer`
/// stores there, rounded to the tensor's dtype. The tensors of `producer` (but the stored one) are
/// appended to the reader's, equal ones are not merged: `appended` gets, for each, the producer's
/// index. The replaced tensor keeps its number and is no longer loaded. nullopt where the result
/// would not verify.
std::optional<Program> inlineProducer(const Program &reader, uint32_t tensor,
                                      const Program &producer, std::vector<uint32_t> &appended);

/// Drops tensors that are neither loaded nor stored and makes those that `sameAs` says to be one
/// one; nodes that no store needs go too. `kept` gets the old numbers of those that stay.
/// `sameAs[i]` <= i is the first operand that is the same tensor (of the same dims and dtype).
Program compact(const Program &program, const std::vector<uint32_t> &sameAs,
                std::vector<uint32_t> &kept);

} // namespace platen::ops::loops
