#include "tools/ptxsim/driver/image.h"

#include "tools/ptxsim/driver/fatbin.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <sstream>

namespace platen::ptxsim::driver {
namespace {

constexpr int kNewestPtx = 90; // that a driver of CUDA 13.0 compiles
constexpr std::string_view kElfMagic = "\x7f"
                                       "ELF";

struct Candidate {
  Architecture architecture;
  std::string text; // PTX
  PtxHeader header;
};

ChooseResult refuse(ImageProblem problem, std::string message) {
  return {std::nullopt, {problem, std::move(message)}};
}

std::span<const std::byte> bytesOf(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string missingKernels(const Cubin &cubin, const PtxHeader &header) {
  std::string missing;
  for (const CubinKernel &kernel : cubin.kernels)
    if (std::find(header.entries.begin(), header.entries.end(), kernel.name) ==
        header.entries.end())
      missing += (missing.empty() ? "" : ", ") + kernel.name;
  return missing;
}

std::string readFile(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return file ? text.str() : "";
}

/// The PTX that runs in the place of `cubin`: made for the same architecture, or else any that the
/// device could compile; it must have every kernel.
ChooseResult chooseForCubin(Cubin cubin, std::span<const std::byte> file, Architecture device,
                            std::vector<Candidate> ptx, const std::string &ptxPath) {
  if (!ptxPath.empty())
    if (std::string text = readFile(ptxPath + "/" + cubinHash(file) + ".ptx"); !text.empty())
      if (auto header = scanPtx(text); header.isOk())
        ptx.push_back({header->target, std::move(text), *header});
  auto rank = [&](const Candidate &c) {
    return c.architecture == cubin.architecture                 ? 0
           : c.architecture.number == cubin.architecture.number ? 1
                                                                : 2;
  };
  std::stable_sort(ptx.begin(), ptx.end(),
                   [&](const Candidate &a, const Candidate &b) { return rank(a) < rank(b); });
  std::string why = "there is no PTX beside the cubin (hash " + cubinHash(file) + ")";
  for (Candidate &candidate : ptx) {
    if (!ptxCompilesFor(candidate.header.target, device)) {
      why = "the PTX beside it is for " + candidate.header.target.name();
      continue;
    }
    if (std::string missing = missingKernels(cubin, candidate.header); !missing.empty()) {
      why = "the PTX beside it lacks the cubin's kernels " + missing;
      continue;
    }
    return {Chosen{std::move(candidate.text), std::move(cubin)}, {}};
  }
  return refuse(ImageProblem::kNoBinary,
                "the cubin for " + cubin.architecture.name() +
                    " cannot be executed here, only PTX can: " + why +
                    "; keep the PTX in the fat binary, or name a folder with <hash>.ptx in "
                    "PLATEN_PTXSIM_PTX_PATH");
}

ChooseResult chooseFromCubin(std::string_view image, Architecture device,
                             const std::string &ptxPath) {
  auto cubin = parseCubin(bytesOf(image));
  if (!cubin)
    return refuse(ImageProblem::kInvalidImage, std::string(cubin.status().message()));
  if (!cubinRunsOn(cubin->architecture, device))
    return refuse(ImageProblem::kNoBinary, "the cubin is for " + cubin->architecture.name() +
                                               ", the device is " + device.name());
  return chooseForCubin(std::move(*cubin), bytesOf(image), device, {}, ptxPath);
}

ChooseResult chooseFromPtx(std::string_view image, Architecture device) {
  auto header = scanPtx(image);
  if (!header)
    return refuse(ImageProblem::kInvalidImage, std::string(header.status().message()));
  if (header->version > kNewestPtx)
    return refuse(ImageProblem::kPtxTooNew, "PTX version " + std::to_string(header->version / 10) +
                                                "." + std::to_string(header->version % 10) +
                                                ", this driver knows up to 9.0");
  if (!ptxCompilesFor(header->target, device))
    return refuse(ImageProblem::kInvalidPtx,
                  "the PTX is for " + header->target.name() + ", the device is " + device.name());
  return {Chosen{std::string(image), std::nullopt}, {}};
}

ChooseResult chooseFromFatbin(std::string_view image, Architecture device,
                              const std::string &ptxPath) {
  auto entries = parseFatbin(bytesOf(image));
  if (!entries)
    return refuse(ImageProblem::kInvalidImage, std::string(entries.status().message()));
  std::optional<Cubin> best;
  std::string bestBytes, contents;
  std::vector<Candidate> ptx;
  for (const FatbinEntry &entry : *entries) {
    bool isCubin = entry.kind == FatbinEntry::Kind::kCubin;
    contents +=
        (contents.empty() ? "" : ", ") + entry.architecture.name() + (isCubin ? " cubin" : " PTX");
    auto bytes = unpack(entry);
    if (!bytes)
      return refuse(ImageProblem::kInvalidImage, std::string(bytes.status().message()));
    if (!isCubin) {
      if (auto header = scanPtx(*bytes); header.isOk())
        ptx.push_back({entry.architecture, std::move(*bytes), *header});
      else
        return refuse(ImageProblem::kInvalidImage, std::string(header.status().message()));
      continue;
    }
    if (!cubinRunsOn(entry.architecture, device))
      continue;
    auto cubin = parseCubin(bytesOf(*bytes));
    if (!cubin)
      return refuse(ImageProblem::kInvalidImage, std::string(cubin.status().message()));
    if (cubin->architecture.number != entry.architecture.number)
      return refuse(ImageProblem::kInvalidImage, "the entry for " + entry.architecture.name() +
                                                     " holds a cubin for " +
                                                     cubin->architecture.name());
    if (!cubin->architecture.suffix) // a cubin does not tell 'f', the container does
      cubin->architecture.suffix = entry.architecture.suffix;
    // The closest architecture; of equals the one that is made for it alone.
    auto score = [](Architecture a) {
      return a.number * 4 + (a.suffix == 'a' ? 2 : a.suffix != 0);
    };
    if (!best || score(cubin->architecture) > score(best->architecture)) {
      best = std::move(*cubin);
      bestBytes = std::move(*bytes);
    }
  }
  if (best)
    return chooseForCubin(std::move(*best), bytesOf(bestBytes), device, std::move(ptx), ptxPath);
  Candidate *newest = nullptr;
  for (Candidate &candidate : ptx)
    if (ptxCompilesFor(candidate.header.target, device) && candidate.header.version <= kNewestPtx &&
        (!newest || candidate.header.target.number >= newest->header.target.number))
      newest = &candidate;
  if (!newest)
    return refuse(ImageProblem::kNoBinary, "the fat binary holds " +
                                               (contents.empty() ? "nothing" : contents) +
                                               "; none of it runs on " + device.name());
  return {Chosen{std::move(newest->text), std::nullopt}, {}};
}

/// The text without comments and line breaks in the way of scanning.
std::string withoutComments(std::string_view ptx) {
  std::string text;
  text.reserve(ptx.size());
  for (size_t i = 0; i < ptx.size(); ++i) {
    if (ptx.substr(i, 2) == "//") {
      i = std::min(ptx.find('\n', i), ptx.size());
      text += '\n';
    } else if (ptx.substr(i, 2) == "/*") {
      i = std::min(ptx.find("*/", i), ptx.size() - 2) + 1;
      text += ' ';
    } else {
      text += ptx[i];
    }
  }
  return text;
}

std::string_view wordAfter(std::string_view text, size_t at) {
  size_t begin = std::min(text.find_first_not_of(" \t\r\n", at), text.size());
  size_t end = std::min(text.find_first_of(" \t\r\n,(;{", begin), text.size());
  return text.substr(begin, end - begin);
}

} // namespace

base::Result<PtxHeader> scanPtx(std::string_view ptx) {
  std::string text = withoutComments(ptx);
  PtxHeader header;
  size_t version = text.find(".version"), target = text.find(".target");
  if (version == std::string::npos || target == std::string::npos)
    return base::corrupt(
        "the image is no fat binary, no cubin, and no PTX (.version or .target is missing)");
  std::string_view number = wordAfter(text, version + 8);
  size_t dot = number.find('.');
  if (dot == std::string_view::npos || dot + 2 != number.size() || dot == 0 || dot > 2)
    return base::corrupt("PTX: .version '" + std::string(number) + "'");
  for (char c : number)
    if (c != '.') {
      if (c < '0' || c > '9')
        return base::corrupt("PTX: .version '" + std::string(number) + "'");
      header.version = header.version * 10 + (c - '0');
    }
  PLATEN_ASSIGN_OR_RETURN(header.target, parseArchitecture(wordAfter(text, target + 7)));
  for (size_t at = text.find(".entry"); at != std::string::npos; at = text.find(".entry", at + 6))
    header.entries.emplace_back(wordAfter(text, at + 6));
  return header;
}

base::Result<std::string> readImage(const void *image) {
  const char *text = static_cast<const char *>(image);
  auto startsWith = [&](std::string_view bytes) {
    return std::strncmp(text, bytes.data(), bytes.size()) == 0;
  };
  if (startsWith(kElfMagic)) {
    PLATEN_ASSIGN_OR_RETURN(size_t size, elfBytes(image));
    return std::string(text, size);
  }
  auto isMagic = [&](uint32_t value) {
    return startsWith({reinterpret_cast<const char *>(&value), sizeof value});
  };
  if (isMagic(kFatbinWrapperMagic)) { // {magic, version, container, …}, as nvcc embeds it
    const void *container = nullptr;
    std::memcpy(&container, text + 8, sizeof container);
    if (!container)
      return base::corrupt("the fat binary's wrapper points nowhere");
    return readImage(container);
  }
  if (isMagic(kFatbinMagic)) {
    PLATEN_ASSIGN_OR_RETURN(size_t size, fatbinBytes(image));
    return std::string(text, size);
  }
  return std::string(text);
}

ChooseResult chooseImage(std::string_view image, Architecture device, const std::string &ptxPath) {
  if (image.starts_with(kElfMagic))
    return chooseFromCubin(image, device, ptxPath);
  uint32_t magic = 0;
  std::memcpy(&magic, image.data(), std::min(image.size(), sizeof magic));
  return magic == kFatbinMagic ? chooseFromFatbin(image, device, ptxPath)
                               : chooseFromPtx(image.substr(0, image.find('\0')), device);
}

} // namespace platen::ptxsim::driver
