// Manifest <-> manifest.proto bytes. Equal manifests give equal bytes.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "runtime/plan/plan.h"

namespace platen::plan {

std::string encodeManifest(const Manifest &manifest);
/// Decodes without validating: every number may still be anything. Errors: kCorrupt.
base::Result<Manifest> decodeManifest(std::span<const std::byte> bytes);

} // namespace platen::plan
