#include "compiler/emit/cuda/fatbin.h"

#include "compiler/emit/cuda/libraries.h"

namespace platen::compiler {

namespace {
using Handle = void *;
}

struct Fatbin::Functions {
  const char *(*errorString)(int) = nullptr;
  int (*create)(Handle *, const char **, size_t) = nullptr;
  int (*destroy)(Handle *) = nullptr;
  int (*addCubin)(Handle, const void *, size_t, const char *, const char *) = nullptr;
  int (*addPtx)(Handle, const char *, size_t, const char *, const char *, const char *) = nullptr;
  int (*size)(Handle, size_t *) = nullptr;
  int (*get)(Handle, void *) = nullptr;

  bool load(const CudaLibrary &library) {
    return library.symbol(errorString, "nvFatbinGetErrorString") &&
           library.symbol(create, "nvFatbinCreate") && library.symbol(destroy, "nvFatbinDestroy") &&
           library.symbol(addCubin, "nvFatbinAddCubin") &&
           library.symbol(addPtx, "nvFatbinAddPTX") && library.symbol(size, "nvFatbinSize") &&
           library.symbol(get, "nvFatbinGet");
  }
  std::string why(int code) const {
    const char *text = errorString(code);
    return text == nullptr ? "error " + std::to_string(code) : text;
  }
};

std::vector<std::string> fatbinCandidates(const std::string &preferred) {
  return cudaLibraryCandidates("libnvfatbin.so.13", "PLATEN_NVFATBIN", preferred);
}

base::Result<Fatbin> Fatbin::open(const std::vector<std::string> &candidates) {
  PLATEN_ASSIGN_OR_RETURN(const CudaLibrary library, CudaLibrary::open("nvFatbin", candidates));
  auto functions = std::make_shared<Functions>();
  if (!functions->load(library))
    return base::notFound("'" + library.path() +
                              "' lacks functions of nvFatbin 13; tools/setup --cuda installs one",
                          "nvfatbin");
  Fatbin fatbin;
  fatbin.functions_ = std::move(functions);
  return fatbin;
}

base::Result<std::string> Fatbin::wrap(const std::string &name, const std::string &architecture,
                                       const std::string &cubin, const std::string &ptx) const {
  const Functions &f = *functions_;
  const std::string origin = name + " for " + architecture;
  const std::string number = architecture.substr(architecture.find('_') + 1); // "90a"
  const char *options[] = {"-compress=false"};
  Handle handle = nullptr;
  int code = f.create(&handle, options, 1);
  if (code != 0)
    return base::internalError("nvFatbin does not start: " + f.why(code), origin);
  size_t bytes = 0;
  std::string image;
  if (!cubin.empty())
    code = f.addCubin(handle, cubin.data(), cubin.size(), number.c_str(), name.c_str());
  if (code == 0) // the text with the zero behind it, as NVRTC counts it
    code = f.addPtx(handle, ptx.c_str(), ptx.size() + 1, number.c_str(), name.c_str(), "");
  if (code == 0)
    code = f.size(handle, &bytes);
  if (code == 0) {
    image.resize(bytes);
    code = f.get(handle, image.data());
  }
  f.destroy(&handle);
  if (code != 0)
    return base::internalError("nvFatbin refuses the kernel: " + f.why(code), origin);
  return image;
}

} // namespace platen::compiler
