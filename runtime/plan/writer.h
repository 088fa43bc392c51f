// Writes a plan file, streaming: sections first, then the manifest, then the header.
//
// Memory: one buffer of 1 MiB, whatever the size of the sections. Equal calls give equal bytes. The
// bytes go to "<path>.tmp", which finish() renames to <path>; a writer destroyed before that
// removes the temporary file, so that nobody ever sees half a plan. Not thread-safe.
//
//   auto writer = PlanWriter::create(path);
//   writer->beginSection(SectionKind::kWeights, "weights");
//   for (...) { weight.offset = *writer->align(64); writer->append(chunk); ... }
//   writer->endSection();
//   writer->finish(std::move(manifest));
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "runtime/plan/plan.h"

namespace platen::plan {

class PlanWriter {
public:
  /// Errors: kIo when "<path>.tmp" cannot be created, or another writer holds it.
  static base::Result<PlanWriter> create(const std::string &path);
  PlanWriter(PlanWriter &&) noexcept;
  PlanWriter &operator=(PlanWriter &&) noexcept;
  ~PlanWriter();

  /// Starts the next section at a multiple of `alignment` (power of two in [4096, 2 MiB]) and
  /// returns its index into Manifest::sections. Errors: kInvalidArgument while another section is
  /// open.
  base::Result<uint32_t> beginSection(SectionKind kind, std::string name,
                                      uint64_t alignment = kSectionAlignment);
  /// Appends bytes to the open section. The first I/O error sticks: later calls return it again.
  base::Status append(std::span<const std::byte> bytes);
  /// Pads the open section with zeros to a multiple of `alignment` and returns its size so far: the
  /// offset, from the section's start, of what is appended next.
  base::Result<uint64_t> align(uint64_t alignment = kDataAlignment);
  base::Status endSection();

  /// Writes the manifest (its `sections` and ABI versions are replaced by the writer's own)
  /// and the header, and renames. Refuses, with kInternal naming the field, a manifest that
  /// Plan::load would refuse.
  base::Status finish(Manifest manifest);

private:
  struct Impl;
  explicit PlanWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

} // namespace platen::plan
