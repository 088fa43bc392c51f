// What every entry point begins with: is the driver initialised, which context is current, has it
// failed. And the helpers that the entry points of different files share.
#pragma once

#include "tools/ptxsim/driver/objects.h"

#include <new>

namespace platen::ptxsim::driver {

/// While one lives, this thread executes a host function: calls return CUDA_ERROR_NOT_PERMITTED.
struct CallbackScope {
  CallbackScope();
  ~CallbackScope();
};
/// While one lives, the null stream of this thread is its own (the _ptsz and _ptds entry points).
struct PerThreadScope {
  PerThreadScope();
  ~PerThreadScope();
};
bool isInsideCallback();
bool isPerThreadDefault();

/// Contexts of this thread; the last is current.
std::vector<uint64_t> &contextStack();
/// Null: none is current. `result` says why.
std::shared_ptr<Context> currentContext(Driver &driver, CUresult &result);

template <class Body> CUresult guarded(Body &&body) {
  try {
    return body();
  } catch (const std::bad_alloc &) {
    return CUDA_ERROR_OUT_OF_MEMORY;
  } catch (const std::exception &e) {
    logLine(std::string("internal error: ") + e.what());
    return CUDA_ERROR_UNKNOWN;
  }
}

/// body(driver, lock), once cuInit was called.
template <class Body> CUresult withDriver(Body &&body) {
  return guarded([&]() -> CUresult {
    if (isInsideCallback())
      return CUDA_ERROR_NOT_PERMITTED;
    Driver &driver = Driver::get();
    Lock lock(driver.mutex);
    if (!driver.isInitialised)
      return CUDA_ERROR_NOT_INITIALIZED;
    return body(driver, lock);
  });
}

/// body(driver, lock, context) with the current context, if it has not failed.
template <class Body> CUresult withContext(Body &&body) {
  return withDriver([&](Driver &driver, Lock &lock) -> CUresult {
    CUresult result = CUDA_SUCCESS;
    std::shared_ptr<Context> context = currentContext(driver, result);
    if (!context)
      return result;
    return context->error != CUDA_SUCCESS ? context->error : body(driver, lock, context);
  });
}

/// Waits for everything that was queued in a context. Returns its error.
CUresult drain(Driver &driver, Lock &lock, const std::shared_ptr<Context> &context);
/// drain() for every context of a device (memory that is freed, modules that go).
void drainDevice(Driver &driver, Lock &lock, int device);

/// Gives the memory of a block back, now.
CUresult releaseBlock(Driver &driver, uint64_t address);

/// Answers CUDA_ERROR_NOT_SUPPORTED and says so once on stderr.
CUresult notSupported(const char *name, const char *why = nullptr);

#define PTXSIM_RETURN_IF(expr)                                                                     \
  do {                                                                                             \
    if (CUresult ptxsimResult = (expr); ptxsimResult != CUDA_SUCCESS)                              \
      return ptxsimResult;                                                                         \
  } while (false)

} // namespace platen::ptxsim::driver
