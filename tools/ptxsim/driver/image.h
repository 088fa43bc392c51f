// Images: what cuModuleLoadData takes (fat binary, nvcc's wrapper around one, cubin, PTX text) and
// what the driver would choose of it for a device.
//
// The real driver runs the best cubin and, without one, compiles the newest PTX. Here a chosen
// cubin is checked (architecture, kernels) and the PTX beside it runs in its place: the PTX must
// have every kernel of the cubin. A cubin without such PTX is refused: nothing here can execute it.
#pragma once

#include "tools/ptxsim/driver/cubin.h"

#include <optional>

namespace platen::ptxsim::driver {

struct Chosen {
  std::string ptx;
  std::optional<Cubin> cubin; // whose place the PTX takes
};

enum class ImageProblem { kInvalidImage, kNoBinary, kInvalidPtx, kPtxTooNew };
struct ImageError {
  ImageProblem problem{};
  std::string message;
};

/// Exactly one of the two is set.
struct ChooseResult {
  std::optional<Chosen> chosen;
  ImageError error;
};

/// The bytes of the image at `image`, whose kind and size its first bytes tell.
base::Result<std::string> readImage(const void *image);
/// `image`: bytes as readImage() returns them. `ptxPath`: folder with <hash>.ptx, or empty.
ChooseResult chooseImage(std::string_view image, Architecture device, const std::string &ptxPath);

/// Names of the kernels (.entry) of a PTX text, its .target and .version, without a full parse.
struct PtxHeader {
  Architecture target;
  int version = 0; // major * 10 + minor
  std::vector<std::string> entries;
};
base::Result<PtxHeader> scanPtx(std::string_view ptx);

} // namespace platen::ptxsim::driver
