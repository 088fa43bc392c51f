// Contexts: their making, their end, and the streams that they own.
#pragma once

#include "tools/ptxsim/driver/streams.h"

namespace platen::ptxsim::driver {

inline constexpr int kGreatestPriority = -5; // the least is 0

std::shared_ptr<Context> createContext(Driver &driver, int device, unsigned flags, bool isPrimary);
/// Forgets a drained context and frees what it owns; its handles are invalid from then on.
void destroyContext(Driver &driver, const std::shared_ptr<Context> &context);
/// The legacy stream, the per-thread ones and the explicit ones.
std::vector<std::shared_ptr<Stream>> streamsOf(Driver &driver, const Context &context);

} // namespace platen::ptxsim::driver
