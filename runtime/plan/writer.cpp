// Sections stream through a hasher into the temporary file; the manifest follows them; the header,
// reserved as zeros at first, is filled in last, so that an interrupted file never begins as a plan
// does.
#include "runtime/plan/writer.h"

#include <algorithm>

#include <optional>

#include "runtime/base/atomic_file.h"
#include "runtime/base/checked.h"
#include "runtime/plan/codec.h"
#include "runtime/plan/hash.h"
#include "runtime/plan/header.h"
#include "runtime/plan/kernel_abi.h"
#include "runtime/plan/reader.h"

namespace platen::plan {

using base::Status;

struct PlanWriter::Impl {
  base::AtomicFile file;
  SectionHasher hasher;
  std::vector<Section> sections;
  bool open = false; // the last of `sections` still grows
  bool finished = false;

  Status padTo(uint64_t alignment) {
    return file.appendZeros(base::alignUp(file.size(), alignment) - file.size());
  }
  Status misuse(std::string what) const {
    return base::invalidArgument(std::move(what), "writing " + file.path());
  }
};

PlanWriter::PlanWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PlanWriter::PlanWriter(PlanWriter &&) noexcept = default;
PlanWriter &PlanWriter::operator=(PlanWriter &&) noexcept = default;
PlanWriter::~PlanWriter() = default;

base::Result<PlanWriter> PlanWriter::create(const std::string &path) {
  auto impl = std::make_unique<Impl>();
  PLATEN_ASSIGN_OR_RETURN(impl->file, base::AtomicFile::create(path));
  PLATEN_RETURN_IF_ERROR(impl->file.appendZeros(kHeaderBytes));
  return PlanWriter(std::move(impl));
}

base::Result<uint32_t> PlanWriter::beginSection(SectionKind kind, std::string name,
                                                uint64_t alignment) {
  if (impl_->open || impl_->finished)
    return impl_->misuse("section '" + name +
                         "' begins before the last one ended, or after finish()");
  if (!base::isPowerOfTwo(alignment) || alignment < kSectionAlignment || alignment > (2U << 20))
    return impl_->misuse("section '" + name + "': alignment " + std::to_string(alignment) +
                         " is no power of two from 4096 to 2 MiB");
  PLATEN_RETURN_IF_ERROR(impl_->padTo(alignment));
  impl_->sections.push_back({.kind = kind,
                             .name = std::move(name),
                             .offset = impl_->file.size(),
                             .bytes = 0,
                             .alignment = alignment,
                             .xxh3 = 0});
  impl_->open = true;
  return static_cast<uint32_t>(impl_->sections.size() - 1);
}

Status PlanWriter::append(std::span<const std::byte> bytes) {
  if (!impl_->open)
    return impl_->misuse("bytes are appended while no section is open");
  impl_->hasher.update(bytes);
  impl_->sections.back().bytes += bytes.size();
  return impl_->file.append(bytes);
}

base::Result<uint64_t> PlanWriter::align(uint64_t alignment) {
  if (!impl_->open || !base::isPowerOfTwo(alignment) || alignment > kSectionAlignment)
    return impl_->misuse("align() needs an open section and a power of two up to 4096");
  static constexpr std::byte kZeros[kSectionAlignment] = {};
  uint64_t bytes = impl_->sections.back().bytes;
  PLATEN_RETURN_IF_ERROR(append(std::span(kZeros, base::alignUp(bytes, alignment) - bytes)));
  return impl_->sections.back().bytes;
}

Status PlanWriter::endSection() {
  if (!impl_->open)
    return impl_->misuse("endSection() while no section is open");
  impl_->open = false;
  impl_->sections.back().xxh3 = impl_->hasher.finish();
  return Status::ok();
}

Status PlanWriter::finish(Manifest manifest) {
  if (impl_->open || impl_->finished)
    return impl_->misuse("finish() while a section is open, or a second time");
  manifest.sections = impl_->sections;
  manifest.kernel_abi_version = PLATEN_KERNEL_ABI_VERSION;
  auto for_cuda = [](const DeviceProgram &program) { return program.device == kCudaDevice; };
  manifest.cuda_abi_version =
      std::ranges::any_of(manifest.programs, for_cuda) ? kCudaAbiVersion : 0;
  // From a section's end to the next page stands nothing but zeros, so that each part can be mapped
  // by itself.
  PLATEN_RETURN_IF_ERROR(impl_->padTo(kSectionAlignment));
  std::string encoded = encodeManifest(manifest);
  auto bytes = std::as_bytes(std::span(encoded.data(), encoded.size()));
  Header header{.manifest_offset = impl_->file.size(),
                .manifest_bytes = bytes.size(),
                .manifest_xxh3 = hashBytes(bytes),
                .file_bytes = impl_->file.size() + bytes.size(),
                .version = manifest.graph ? kGraphFormatVersion : kFormatVersion};
  // What the reader would refuse is a fault of whoever built the manifest; better found here than
  // at load.
  auto refused = [&](const Status &status) {
    return base::internalError(std::string(status.message()), "writing " + impl_->file.path() +
                                                                  ": " +
                                                                  std::string(status.origin()));
  };
  if (bytes.size() > kMaxManifestBytes)
    return refused(base::corrupt("it has more than 16 MiB", "manifest"));
  if (Status status = validate(manifest, header.file_bytes); !status.isOk())
    return refused(status);
  auto decoded = decodeManifest(bytes);
  if (!decoded.isOk() || !(*decoded == manifest))
    return refused(
        base::corrupt("it does not read back as written (names must be UTF-8)", "manifest"));
  PLATEN_RETURN_IF_ERROR(impl_->file.append(bytes));
  PLATEN_RETURN_IF_ERROR(impl_->file.overwrite(0, encodeHeader(header)));
  impl_->finished = true;
  return impl_->file.commit();
}

} // namespace platen::plan
