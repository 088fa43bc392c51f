// Header, manifest, sections: each is checked with what was proven before it. Every byte of the
// file is covered, by a hash or by the rule that gaps are zero, so that no flipped bit goes unseen.
#include "runtime/plan/reader.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "runtime/base/checked.h"
#include "runtime/base/cpus.h"
#include "runtime/plan/codec.h"
#include "runtime/plan/hash.h"
#include "runtime/plan/header.h"

namespace platen::plan {
namespace {

using base::corrupt;
using base::Status;

// Bytes between two parts of the file: at most the padding that the largest alignment asks for.
constexpr uint64_t kMaxGapBytes = uint64_t{2} << 20;

struct Part {
  uint64_t offset, bytes;
  std::string name;
};

bool isZero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

/// Header, sections and manifest must tile the file, with gaps of zeros for alignment.
Status checkTiling(std::span<const std::byte> file, const Header &header, const Manifest &manifest,
                   bool check_zeros) {
  std::vector<Part> parts{{0, kHeaderBytes, "the header"},
                          {header.manifest_offset, header.manifest_bytes, "the manifest"}};
  for (const Section &section : manifest.sections)
    parts.push_back({section.offset, section.bytes, "section '" + section.name + "'"});
  std::sort(parts.begin(), parts.end(),
            [](const Part &a, const Part &b) { return a.offset < b.offset; });
  uint64_t end = 0;
  for (const Part &part : parts) {
    if (part.offset < end)
      return corrupt(part.name + " overlaps what stands before it");
    if (part.offset - end >= kMaxGapBytes)
      return corrupt("bytes " + std::to_string(end) + " to " + std::to_string(part.offset) +
                     " belong to no section");
    if (check_zeros && !isZero(file.subspan(end, part.offset - end)))
      return corrupt("the padding before " + part.name + " is not zero; the file is damaged");
    end = part.offset + part.bytes;
  }
  if (end != file.size())
    return corrupt("bytes " + std::to_string(end) + " to " + std::to_string(file.size()) +
                   " belong to no section");
  return Status::ok();
}

Status checkHashes(std::span<const std::byte> file, const Manifest &manifest, unsigned threads) {
  std::vector<std::span<const std::byte>> sections;
  for (const Section &section : manifest.sections)
    sections.push_back(file.subspan(section.offset, section.bytes));
  std::vector<uint64_t> hashes = hashSections(sections, threads);
  for (size_t i = 0; i < hashes.size(); ++i) {
    if (hashes[i] != manifest.sections[i].xxh3)
      return corrupt(
          "its hash does not match its bytes; the file is damaged, copy or compile it again",
          "section '" + manifest.sections[i].name + "'");
  }
  return Status::ok();
}

base::Result<Manifest> readChecked(std::span<const std::byte> file, const LoadOptions &options) {
  PLATEN_ASSIGN_OR_RETURN(Header header, decodeHeader(file));
  auto manifest_bytes = file.subspan(header.manifest_offset, header.manifest_bytes);
  if (hashBytes(manifest_bytes) != header.manifest_xxh3)
    return corrupt("its hash does not match its bytes; the file is damaged", "manifest");
  PLATEN_ASSIGN_OR_RETURN(Manifest manifest, decodeManifest(manifest_bytes));
  if (manifest.graph.has_value() != (header.version == kGraphFormatVersion))
    return corrupt("the header's format version " + std::to_string(header.version) +
                   (manifest.graph ? " is that of a decoder, but the manifest has a graph"
                                   : " is that of a graph, but the manifest has none"));
  PLATEN_RETURN_IF_ERROR(validate(manifest, file.size()));
  PLATEN_RETURN_IF_ERROR(checkTiling(file, header, manifest, options.verify_sections));
  if (options.verify_sections) {
    unsigned threads = options.hash_threads != 0
                           ? options.hash_threads
                           : static_cast<unsigned>(std::min<size_t>(base::allowedCpus().size(), 8));
    PLATEN_RETURN_IF_ERROR(checkHashes(file, manifest, threads));
  }
  return manifest;
}

} // namespace

base::Result<Manifest> readManifest(std::span<const std::byte> file, const LoadOptions &options,
                                    const std::string &origin) {
  auto manifest = readChecked(file, options);
  if (!manifest.isOk())
    return manifest.status().at(origin);
  return manifest;
}

Plan::Plan(base::MappedFile file, Manifest manifest)
    : file_(std::move(file)), manifest_(std::move(manifest)) {}

base::Result<Plan> Plan::load(const std::string &path, const LoadOptions &options) {
  PLATEN_ASSIGN_OR_RETURN(base::MappedFile file, base::MappedFile::open(path));
  PLATEN_ASSIGN_OR_RETURN(Manifest manifest, readManifest(file.bytes(), options, path));
  return Plan(std::move(file), std::move(manifest));
}

std::span<const std::byte> Plan::section(uint32_t index) const {
  const Section &section = manifest_.sections[index];
  return file_.bytes().subspan(section.offset, section.bytes);
}

std::span<const std::byte> Plan::weights() const {
  for (uint32_t i = 0; i < manifest_.sections.size(); ++i) {
    if (manifest_.sections[i].kind == SectionKind::kWeights)
      return section(i);
  }
  return {};
}

std::span<const std::byte> Plan::tokenizer() const {
  return manifest_.tokenizer.kind.empty() ? std::span<const std::byte>()
                                          : section(manifest_.tokenizer.section);
}

} // namespace platen::plan
