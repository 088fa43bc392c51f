// Opens plan files. A plan is hostile input: whatever the bytes, loading returns a Plan in which
// every number that the runtime will trust has been checked, or a Status; it never crashes.
//
// Hashes detect damage, not malice: machine code in a plan runs with the rights of the process, so
// plans are to be trusted like programs. The file must not change while a Plan is alive (it is
// mapped, as a shared library is).
//
// Cost of load: one read of the file through the page cache on several threads (about 0.1 s a GB
// when warm).
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "runtime/base/mapped_file.h"
#include "runtime/plan/plan.h"

namespace platen::plan {

struct LoadOptions {
  /// Threads that check section hashes; 0: one for each CPU the process may use, at most 8.
  unsigned hash_threads = 0;
  /// false: section hashes and padding are not checked (for `inspect`; never execute such a plan).
  bool verify_sections = true;
};

class Plan {
public:
  /// Errors: kNotFound/kIo (no such file, unreadable), kCorrupt (damage; the message says where),
  /// kUnsupported (a format or kernel ABI version that this runtime does not know).
  static base::Result<Plan> load(const std::string &path, const LoadOptions &options = {});

  const Manifest &manifest() const { return manifest_; }
  const std::string &path() const { return file_.path(); }
  uint64_t fileBytes() const { return file_.bytes().size(); }
  /// The mapped bytes of section `index`, readable as long as this Plan lives; aligned to its
  /// alignment.
  std::span<const std::byte> section(uint32_t index) const;
  /// The one weights section; empty if the plan has no weights.
  std::span<const std::byte> weights() const;
  /// The tokenizer's section; empty if the plan has no tokenizer.
  std::span<const std::byte> tokenizer() const;

private:
  Plan(base::MappedFile file, Manifest manifest);
  base::MappedFile file_;
  Manifest manifest_;
};

/// The same checks over bytes in memory; `origin` goes into messages.
base::Result<Manifest> readManifest(std::span<const std::byte> file, const LoadOptions &options,
                                    const std::string &origin);

} // namespace platen::plan
