// Entry points: modules and libraries.
#include "tools/ptxsim/driver/modules.h"

#include <cstring>
#include <fstream>
#include <sstream>

using namespace platen::ptxsim::driver;

namespace {

struct JitLogs {
  char *info = nullptr, *error = nullptr;
  size_t infoBytes = 0, errorBytes = 0;
  void **infoUsed = nullptr, **errorUsed = nullptr;

  JitLogs(unsigned count, CUjit_option *options, void **values) {
    for (unsigned i = 0; options && values && i < count; ++i) {
      auto size = static_cast<size_t>(reinterpret_cast<uintptr_t>(values[i]) & 0xFFFFFFFF);
      switch (options[i]) {
      case CU_JIT_INFO_LOG_BUFFER:
        info = static_cast<char *>(values[i]);
        break;
      case CU_JIT_ERROR_LOG_BUFFER:
        error = static_cast<char *>(values[i]);
        break;
      case CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES:
        infoBytes = size;
        infoUsed = &values[i];
        break;
      case CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES:
        errorBytes = size;
        errorUsed = &values[i];
        break;
      default:
        break;
      }
    }
  }
  static void put(const std::string &text, char *buffer, size_t bytes, void **used) {
    size_t n = buffer && bytes ? std::min(text.size(), bytes - 1) : 0;
    if (buffer && bytes) {
      std::memcpy(buffer, text.data(), n);
      buffer[n] = '\0';
    }
    if (used)
      *used = reinterpret_cast<void *>(n);
  }
  void write(const std::string &log) {
    put(log, error, errorBytes, errorUsed);
    put("", info, infoBytes, infoUsed);
  }
};

CUresult load(CUmodule *result, const void *image, JitLogs *logs) {
  return withContext(
      [&](Driver &driver, Lock &, const std::shared_ptr<Context> &context) -> CUresult {
        if (!result || !image)
          return CUDA_ERROR_INVALID_VALUE;
        PTXSIM_RETURN_IF(forbidWhileCapturing(driver));
        auto bytes = readImage(image);
        std::string log;
        std::shared_ptr<ModuleObject> module;
        CUresult status = CUDA_ERROR_INVALID_IMAGE;
        if (bytes)
          status = loadModule(driver, context, *bytes, module, log);
        else
          log = bytes.status().message();
        if (logs)
          logs->write(log);
        PTXSIM_RETURN_IF(status);
        *result = module->as<CUmodule>();
        return CUDA_SUCCESS;
      });
}

/// With a NUL behind the last byte, for PTX.
CUresult readFile(const char *path, std::string &bytes) {
  std::ifstream file(path, std::ios::binary);
  if (!file)
    return CUDA_ERROR_FILE_NOT_FOUND;
  std::stringstream text;
  text << file.rdbuf();
  bytes = text.str();
  bytes.resize(bytes.size() + 64); // headers may be read past a file that is too short
  return CUDA_SUCCESS;
}

/// body(driver, module)
template <class Body> CUresult withModule(CUmodule handle, Body &&body) {
  return withContext([&](Driver &driver, Lock &lock, const std::shared_ptr<Context> &) -> CUresult {
    auto module = driver.modules.find(handle);
    return module ? body(driver, lock, module) : CUDA_ERROR_INVALID_HANDLE;
  });
}

CUresult findGlobal(const ModuleObject &module, const char *name, CUdeviceptr *address,
                    size_t *bytes) {
  if (!name)
    return CUDA_ERROR_INVALID_VALUE;
  auto variable = module.image->loaded->global(name);
  if (!variable)
    return CUDA_ERROR_NOT_FOUND;
  if (address)
    *address = variable->address;
  if (bytes)
    *bytes = variable->size;
  return CUDA_SUCCESS;
}

/// body(driver, lock, library)
template <class Body> CUresult withLibrary(CUlibrary handle, Body &&body) {
  return withDriver([&](Driver &driver, Lock &lock) -> CUresult {
    auto library = driver.libraries.find(handle);
    return library ? body(driver, lock, library) : CUDA_ERROR_INVALID_HANDLE;
  });
}

/// body(driver, context, library, module): the library as loaded into the current context.
template <class Body> CUresult withLoadedLibrary(CUlibrary handle, Body &&body) {
  return withContext(
      [&](Driver &driver, Lock &, const std::shared_ptr<Context> &context) -> CUresult {
        auto library = driver.libraries.find(handle);
        if (!library)
          return CUDA_ERROR_INVALID_HANDLE;
        std::shared_ptr<ModuleObject> module;
        PTXSIM_RETURN_IF(libraryModule(driver, context, *library, module));
        return body(driver, context, *library, *module);
      });
}

CUresult addLibrary(CUlibrary *result, const void *image) {
  return withDriver([&](Driver &driver, Lock &) -> CUresult {
    if (!result || !image)
      return CUDA_ERROR_INVALID_VALUE;
    auto bytes = readImage(image);
    if (!bytes)
      return CUDA_ERROR_INVALID_IMAGE;
    // Kernels are known without a context: from the first device for which the image has code.
    ChooseResult choice;
    for (const Device &device : driver.devices) {
      choice = chooseImage(*bytes, device.architecture, driver.settings.ptxPath);
      if (choice.chosen)
        break;
    }
    if (!choice.chosen) {
      logLine("library: " + choice.error.message);
      return choice.error.problem == ImageProblem::kNoBinary     ? CUDA_ERROR_NO_BINARY_FOR_GPU
             : choice.error.problem == ImageProblem::kInvalidPtx ? CUDA_ERROR_INVALID_PTX
             : choice.error.problem == ImageProblem::kPtxTooNew ? CUDA_ERROR_UNSUPPORTED_PTX_VERSION
                                                                : CUDA_ERROR_INVALID_IMAGE;
    }
    auto library = std::make_shared<Library>();
    library->image = std::move(*bytes);
    driver.libraries.add(library);
    auto header = scanPtx(choice.chosen->ptx);
    for (const std::string &name : header->entries) {
      auto kernel = std::make_shared<Kernel>();
      kernel->library = library->handle;
      kernel->name = name;
      driver.kernels.add(kernel);
      library->kernels[name] = std::move(kernel);
    }
    *result = library->as<CUlibrary>();
    return CUDA_SUCCESS;
  });
}

template <class Body> CUresult withKernel(CUkernel handle, Body &&body) {
  return withDriver([&](Driver &driver, Lock &) -> CUresult {
    auto kernel = driver.kernels.find(handle);
    return kernel ? body(driver, *kernel) : CUDA_ERROR_INVALID_HANDLE;
  });
}

} // namespace

extern "C" {

CUresult cuModuleLoadData(CUmodule *module, const void *image) {
  return load(module, image, nullptr);
}
CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned int count,
                            CUjit_option *options, void **values) {
  JitLogs logs(count, options, values);
  return load(module, image, &logs);
}
CUresult cuModuleLoadFatBinary(CUmodule *module, const void *image) {
  return load(module, image, nullptr);
}
CUresult cuModuleLoad(CUmodule *module, const char *path) {
  return guarded([&]() -> CUresult {
    std::string bytes;
    if (!path)
      return CUDA_ERROR_INVALID_VALUE;
    PTXSIM_RETURN_IF(readFile(path, bytes));
    return load(module, bytes.data(), nullptr);
  });
}

CUresult cuModuleUnload(CUmodule handle) {
  return withModule(handle, [](Driver &driver, Lock &lock, const auto &module) -> CUresult {
    PTXSIM_RETURN_IF(forbidWhileCapturing(driver));
    unloadModule(driver, lock, module);
    return CUDA_SUCCESS;
  });
}

CUresult cuModuleGetLoadingMode(CUmoduleLoadingMode *mode) {
  if (!mode)
    return CUDA_ERROR_INVALID_VALUE;
  *mode = CU_MODULE_LAZY_LOADING;
  return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction *result, CUmodule handle, const char *name) {
  return withModule(handle, [&](Driver &driver, Lock &, const auto &module) -> CUresult {
    std::shared_ptr<Function> function;
    if (!result || !name)
      return CUDA_ERROR_INVALID_VALUE;
    PTXSIM_RETURN_IF(getFunction(driver, *module, name, function));
    *result = function->template as<CUfunction>();
    return CUDA_SUCCESS;
  });
}

CUresult cuModuleGetFunctionCount(unsigned int *count, CUmodule handle) {
  return withModule(handle, [&](Driver &, Lock &, const auto &module) -> CUresult {
    if (!count)
      return CUDA_ERROR_INVALID_VALUE;
    *count = static_cast<unsigned>(module->image->loaded->module().kernels().size());
    return CUDA_SUCCESS;
  });
}

CUresult cuModuleEnumerateFunctions(CUfunction *list, unsigned int count, CUmodule handle) {
  return withModule(handle, [&](Driver &driver, Lock &, const auto &module) -> CUresult {
    if (!list)
      return CUDA_ERROR_INVALID_VALUE;
    for (const auto &info : module->image->loaded->module().kernels()) {
      if (count-- == 0)
        break;
      std::shared_ptr<Function> function;
      PTXSIM_RETURN_IF(getFunction(driver, *module, info.name, function));
      *list++ = function->template as<CUfunction>();
    }
    return CUDA_SUCCESS;
  });
}

CUresult cuModuleGetGlobal(CUdeviceptr *address, size_t *bytes, CUmodule handle, const char *name) {
  return withModule(handle, [&](Driver &, Lock &, const auto &module) -> CUresult {
    return findGlobal(*module, name, address, bytes);
  });
}

CUresult cuLibraryLoadData(CUlibrary *library, const void *image, CUjit_option *, void **,
                           unsigned int, CUlibraryOption *, void **, unsigned int) {
  return addLibrary(library, image);
}
CUresult cuLibraryLoadFromFile(CUlibrary *library, const char *path, CUjit_option *, void **,
                               unsigned int, CUlibraryOption *, void **, unsigned int) {
  return guarded([&]() -> CUresult {
    std::string bytes;
    if (!path)
      return CUDA_ERROR_INVALID_VALUE;
    PTXSIM_RETURN_IF(readFile(path, bytes));
    return addLibrary(library, bytes.data());
  });
}

CUresult cuLibraryUnload(CUlibrary handle) {
  return withLibrary(handle, [](Driver &driver, Lock &lock, const auto &library) -> CUresult {
    auto modules = std::move(library->modules);
    for (const auto &[context, module] : modules)
      unloadModule(driver, lock, module);
    for (const auto &[name, kernel] : library->kernels)
      driver.kernels.remove(kernel->handle);
    driver.libraries.remove(library->handle);
    return CUDA_SUCCESS;
  });
}

CUresult cuLibraryGetKernel(CUkernel *result, CUlibrary handle, const char *name) {
  return withLibrary(handle, [&](Driver &, Lock &, const auto &library) -> CUresult {
    if (!result || !name)
      return CUDA_ERROR_INVALID_VALUE;
    auto it = library->kernels.find(std::string_view(name));
    if (it == library->kernels.end())
      return CUDA_ERROR_NOT_FOUND;
    *result = it->second->template as<CUkernel>();
    return CUDA_SUCCESS;
  });
}

CUresult cuLibraryGetKernelCount(unsigned int *count, CUlibrary handle) {
  return withLibrary(handle, [&](Driver &, Lock &, const auto &library) -> CUresult {
    if (!count)
      return CUDA_ERROR_INVALID_VALUE;
    *count = static_cast<unsigned>(library->kernels.size());
    return CUDA_SUCCESS;
  });
}

CUresult cuLibraryEnumerateKernels(CUkernel *list, unsigned int count, CUlibrary handle) {
  return withLibrary(handle, [&](Driver &, Lock &, const auto &library) -> CUresult {
    if (!list)
      return CUDA_ERROR_INVALID_VALUE;
    for (const auto &[name, kernel] : library->kernels)
      if (count) {
        *list++ = kernel->template as<CUkernel>();
        --count;
      }
    return CUDA_SUCCESS;
  });
}

CUresult cuLibraryGetModule(CUmodule *result, CUlibrary handle) {
  return withLoadedLibrary(handle, [&](Driver &, const auto &, Library &, ModuleObject &module) {
    if (!result)
      return CUDA_ERROR_INVALID_VALUE;
    *result = module.as<CUmodule>();
    return CUDA_SUCCESS;
  });
}

CUresult cuLibraryGetGlobal(CUdeviceptr *address, size_t *bytes, CUlibrary handle,
                            const char *name) {
  return withLoadedLibrary(handle, [&](Driver &, const auto &, Library &, ModuleObject &module) {
    return findGlobal(module, name, address, bytes);
  });
}

CUresult cuKernelGetFunction(CUfunction *result, CUkernel handle) {
  return withContext(
      [&](Driver &driver, Lock &, const std::shared_ptr<Context> &context) -> CUresult {
        std::shared_ptr<Function> function;
        if (!result || !driver.kernels.find(handle))
          return result ? CUDA_ERROR_INVALID_HANDLE : CUDA_ERROR_INVALID_VALUE;
        PTXSIM_RETURN_IF(resolveFunction(driver, context, handle, function));
        *result = function->as<CUfunction>();
        return CUDA_SUCCESS;
      });
}

CUresult cuKernelGetName(const char **name, CUkernel handle) {
  return withKernel(handle, [&](Driver &, const Kernel &kernel) -> CUresult {
    if (!name)
      return CUDA_ERROR_INVALID_VALUE;
    *name = kernel.name.c_str();
    return CUDA_SUCCESS;
  });
}

CUresult cuKernelGetLibrary(CUlibrary *library, CUkernel handle) {
  return withKernel(handle, [&](Driver &, const Kernel &kernel) -> CUresult {
    if (!library)
      return CUDA_ERROR_INVALID_VALUE;
    *library = reinterpret_cast<CUlibrary>(kernel.library);
    return CUDA_SUCCESS;
  });
}

} // extern "C"
