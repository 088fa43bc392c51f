#include "compiler/emit/cuda/nvrtc.h"

#include "compiler/emit/cuda/libraries.h"

namespace platen::compiler {

namespace {
using Program = void *;
}

struct Nvrtc::Functions {
  int (*version)(int *, int *) = nullptr;
  const char *(*errorString)(int) = nullptr;
  int (*create)(Program *, const char *, const char *, int, const char *const *,
                const char *const *) = nullptr;
  int (*destroy)(Program *) = nullptr;
  int (*compile)(Program, int, const char *const *) = nullptr;
  int (*ptxSize)(Program, size_t *) = nullptr;
  int (*ptx)(Program, char *) = nullptr;
  int (*cubinSize)(Program, size_t *) = nullptr;
  int (*cubin)(Program, char *) = nullptr;
  int (*logSize)(Program, size_t *) = nullptr;
  int (*log)(Program, char *) = nullptr;

  bool load(const CudaLibrary &library) {
    return library.symbol(version, "nvrtcVersion") &&
           library.symbol(errorString, "nvrtcGetErrorString") &&
           library.symbol(create, "nvrtcCreateProgram") &&
           library.symbol(destroy, "nvrtcDestroyProgram") &&
           library.symbol(compile, "nvrtcCompileProgram") &&
           library.symbol(ptxSize, "nvrtcGetPTXSize") && library.symbol(ptx, "nvrtcGetPTX") &&
           library.symbol(cubinSize, "nvrtcGetCUBINSize") &&
           library.symbol(cubin, "nvrtcGetCUBIN") &&
           library.symbol(logSize, "nvrtcGetProgramLogSize") &&
           library.symbol(log, "nvrtcGetProgramLog");
  }
  /// What a pair of size and content functions give.
  static std::string text(Program program, int (*size)(Program, size_t *),
                          int (*content)(Program, char *)) {
    size_t bytes = 0;
    std::string result;
    if (size(program, &bytes) != 0 || bytes == 0)
      return result;
    result.resize(bytes);
    if (content(program, result.data()) != 0)
      return {};
    return result;
  }
};

std::vector<std::string> nvrtcCandidates(const std::string &preferred) {
  return cudaLibraryCandidates("libnvrtc.so.13", "PLATEN_NVRTC", preferred);
}

base::Result<Nvrtc> Nvrtc::open(const std::vector<std::string> &candidates) {
  PLATEN_ASSIGN_OR_RETURN(const CudaLibrary library, CudaLibrary::open("NVRTC", candidates));
  auto functions = std::make_shared<Functions>();
  if (!functions->load(library))
    return base::notFound("'" + library.path() +
                              "' lacks functions of NVRTC 13; tools/setup --cuda installs one",
                          "nvrtc");
  Nvrtc nvrtc;
  nvrtc.functions_ = std::move(functions);
  return nvrtc;
}

std::string Nvrtc::version() const {
  int major = 0, minor = 0;
  functions_->version(&major, &minor);
  return std::to_string(major) + "." + std::to_string(minor);
}

base::Result<NvrtcOutput> Nvrtc::compile(const std::string &source, const std::string &name,
                                         const std::string &architecture) const {
  const Functions &f = *functions_;
  const std::string origin = name + " for " + architecture;
  Program program = nullptr;
  if (int code = f.create(&program, source.c_str(), name.c_str(), 0, nullptr, nullptr); code != 0)
    return base::internalError(f.errorString(code), origin);
  const std::string target = "--gpu-architecture=" + architecture;
  std::vector<const char *> options = {target.c_str(), "--std=c++20", "--fmad=false",
                                       "--ptxas-options=-v"};
  const int code = f.compile(program, static_cast<int>(options.size()), options.data());
  NvrtcOutput output;
  output.log = Functions::text(program, f.logSize, f.log);
  while (!output.log.empty() && output.log.back() == '\0')
    output.log.pop_back();
  if (code == 0) {
    output.ptx = Functions::text(program, f.ptxSize, f.ptx);
    while (!output.ptx.empty() && output.ptx.back() == '\0')
      output.ptx.pop_back();
    if (architecture.starts_with("sm_"))
      output.cubin = Functions::text(program, f.cubinSize, f.cubin);
  }
  f.destroy(&program);
  if (code != 0)
    return base::invalidArgument(std::string(f.errorString(code)) + ":\n" + output.log, origin);
  return output;
}

} // namespace platen::compiler
