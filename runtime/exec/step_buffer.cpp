// Arrays are packed one behind the other, each padded to 16 elements (64 bytes), so that a small
// step is a small upload.
#include "runtime/exec/step_buffer.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "runtime/base/checked.h"

namespace platen::exec {
namespace {

using base::invalidArgument;
using base::Status;

std::string number(int64_t value) { return std::to_string(value); }

/// Entries that a sequence of `tokens` positions needs in the page table.
uint64_t pagesFor(uint64_t tokens, uint64_t page_tokens) {
  return (tokens + page_tokens - 1) / page_tokens;
}

uint64_t paddedBytes(uint64_t elements) { return base::alignUp(elements, 16) * 4; }

Status checkCount(const char *what, uint64_t count, uint64_t limit) {
  if (count > limit)
    return invalidArgument("a step of " + std::to_string(count) + " " + what +
                           ", the plan allows " + std::to_string(limit));
  return Status::ok();
}

Status checkValues(const char *what, std::span<const int32_t> values, int64_t limit) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] < 0 || values[i] >= limit)
      return invalidArgument(std::string(what) + "[" + std::to_string(i) + "] is " +
                             number(values[i]) + ", must be in [0, " + number(limit) + ")");
  }
  return Status::ok();
}

Status checkSizes(const StepInputs &inputs, const plan::Limits &limits) {
  PLATEN_RETURN_IF_ERROR(checkCount("tokens", inputs.token_ids.size(), limits.step_tokens));
  PLATEN_RETURN_IF_ERROR(checkCount("rows", inputs.row_tokens.size(), limits.step_rows));
  if (inputs.positions.size() != inputs.token_ids.size() ||
      inputs.sequence_of_token.size() != inputs.token_ids.size())
    return invalidArgument("token_ids, positions and sequence_of_token differ in length");
  if (inputs.sequences < 0 || inputs.page_table_stride < 0)
    return invalidArgument("sequences or page_table_stride is negative");
  PLATEN_RETURN_IF_ERROR(
      checkCount("sequences", static_cast<uint64_t>(inputs.sequences), limits.step_sequences));
  PLATEN_RETURN_IF_ERROR(checkCount("page table entries a sequence",
                                    static_cast<uint64_t>(inputs.page_table_stride),
                                    pagesFor(limits.context_tokens, limits.page_tokens)));
  if (static_cast<int64_t>(inputs.page_table.size()) != inputs.sequences * inputs.page_table_stride)
    return invalidArgument("page_table has " + std::to_string(inputs.page_table.size()) +
                           " entries, not sequences * page_table_stride");
  return Status::ok();
}

/// Sequences are adjacent, positions ascend within each.
Status checkOrder(const StepInputs &inputs) {
  for (size_t t = 1; t < inputs.token_ids.size(); ++t) {
    int32_t before = inputs.sequence_of_token[t - 1], now = inputs.sequence_of_token[t];
    if (now < before || (now == before && inputs.positions[t] <= inputs.positions[t - 1]))
      return invalidArgument(
          "token " + std::to_string(t) +
          " does not follow the one before it: sequences must ascend, and positions "
          "within a sequence");
  }
  return Status::ok();
}

/// The first position that any layer reads for a token at `position`.
int64_t firstRead(std::span<const plan::Cache> caches, int64_t position) {
  int64_t first = position;
  for (const plan::Cache &cache : caches)
    first =
        std::min(first, cache.window == 0 ? 0 : std::max<int64_t>(0, position + 1 - cache.window));
  return first;
}

/// Every page that the tokens read or write is there.
Status checkPages(const StepInputs &inputs, const plan::Limits &limits,
                  std::span<const plan::Cache> caches, uint32_t pages) {
  if (caches.empty())
    return Status::ok();
  auto page_tokens = static_cast<int64_t>(limits.page_tokens);
  size_t count = inputs.token_ids.size();
  for (size_t t = 0; t < count;) {
    int32_t sequence = inputs.sequence_of_token[t];
    int64_t first = firstRead(caches, inputs.positions[t]) / page_tokens;
    while (t + 1 < count && inputs.sequence_of_token[t + 1] == sequence)
      ++t;
    int64_t last = inputs.positions[t++] / page_tokens;
    if (last >= inputs.page_table_stride)
      return invalidArgument("sequence " + number(sequence) + " reaches page " + number(last) +
                             ", but its page table has " + number(inputs.page_table_stride) +
                             " entries");
    for (int64_t i = first; i <= last; ++i) {
      int32_t page =
          inputs.page_table[static_cast<size_t>(sequence * inputs.page_table_stride + i)];
      if (page < 0 || page >= static_cast<int64_t>(pages))
        return invalidArgument("page " + number(i) + " of sequence " + number(sequence) + " is " +
                               number(page) + ", must be in [0, " + number(pages) + ")");
    }
  }
  return Status::ok();
}

} // namespace

Status checkInputs(const StepInputs &inputs, const plan::Manifest &manifest,
                   std::span<const plan::Cache> caches, uint32_t pages) {
  PLATEN_RETURN_IF_ERROR(checkSizes(inputs, manifest.limits));
  PLATEN_RETURN_IF_ERROR(checkValues("token_ids", inputs.token_ids, manifest.model.vocabulary));
  PLATEN_RETURN_IF_ERROR(
      checkValues("positions", inputs.positions, manifest.limits.context_tokens));
  PLATEN_RETURN_IF_ERROR(
      checkValues("sequence_of_token", inputs.sequence_of_token, inputs.sequences));
  PLATEN_RETURN_IF_ERROR(
      checkValues("row_tokens", inputs.row_tokens, static_cast<int64_t>(inputs.token_ids.size())));
  PLATEN_RETURN_IF_ERROR(checkOrder(inputs));
  return checkPages(inputs, manifest.limits, caches, pages);
}

uint64_t StepBuffer::maxBytes(const plan::Limits &limits) {
  uint64_t table = pagesFor(limits.context_tokens, limits.page_tokens) * limits.step_sequences;
  return base::alignUp(sizeof(PlatenStep), 64) + 3 * paddedBytes(limits.step_tokens) +
         paddedBytes(limits.step_rows) + paddedBytes(table);
}

StepBuffer::StepBuffer(const plan::Limits &limits, const void *device_address)
    : bytes_(maxBytes(limits)), device_address_(static_cast<const std::byte *>(device_address)) {}

const int32_t *StepBuffer::append(std::span<const int32_t> values) {
  const std::byte *address = device_address_ + used_;
  if (!values.empty())
    std::memcpy(bytes_.data() + used_, values.data(), values.size_bytes());
  used_ += paddedBytes(values.size());
  return reinterpret_cast<const int32_t *>(address);
}

std::span<const std::byte> StepBuffer::fill(const StepInputs &inputs) {
  used_ = base::alignUp(sizeof(PlatenStep), 64);
  PlatenStep step{};
  step.tokens = static_cast<int64_t>(inputs.token_ids.size());
  step.rows = static_cast<int64_t>(inputs.row_tokens.size());
  step.sequences = inputs.sequences;
  step.page_table_stride = inputs.page_table_stride;
  step.token_ids = append(inputs.token_ids);
  step.positions = append(inputs.positions);
  step.sequence_of_token = append(inputs.sequence_of_token);
  step.row_tokens = append(inputs.row_tokens);
  step.page_table = append(inputs.page_table);
  std::memcpy(bytes_.data(), &step, sizeof step);
  return std::span(bytes_).first(used_);
}

} // namespace platen::exec
