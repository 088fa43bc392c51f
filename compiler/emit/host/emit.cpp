#include "compiler/emit/host/emit.h"

#include "compiler/emit/host/lower.h"
#include "kernels/host/builders.h"
#include "runtime/base/threads.h"

#include "mlir/IR/BuiltinOps.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>

namespace platen::compiler {

using base::Result;
using base::Status;

namespace {

Result<mlir::OwningOpRef<mlir::ModuleOp>> buildModule(Lowerer &lowerer,
                                                      const kernels::HostKernelSpec &spec,
                                                      const kernels::HostTarget &target) {
  mlir::OwningOpRef<mlir::ModuleOp> module(
      mlir::ModuleOp::create(mlir::UnknownLoc::get(&lowerer.context())));
  PLATEN_RETURN_IF_ERROR(kernels::buildHostKernel(*module, spec, target));
  return module;
}

MiddleEnd middleEndOf(const kernels::HostKernelSpec &spec) {
  return std::holds_alternative<kernels::LoopSpec>(spec) ? MiddleEnd::kLoops : MiddleEnd::kNone;
}

struct Request {
  std::string name;
  const kernels::HostKernelSpec *spec;
};

/// Names of the different requests, in order of first appearance.
Result<std::vector<Request>> uniqueRequests(std::span<const kernels::HostKernelSpec> specs) {
  std::vector<Request> requests;
  std::map<std::string, std::string> keys; // name -> key
  for (const kernels::HostKernelSpec &spec : specs) {
    PLATEN_ASSIGN_OR_RETURN(kernels::HostKernelInfo info, kernels::describeHostKernel(spec));
    auto [at, added] = keys.emplace(info.name, info.key);
    if (added)
      requests.push_back({info.name, &spec});
    else if (at->second != info.key)
      return base::internalError("two different kernels have the same name", info.name);
  }
  return requests;
}

} // namespace

Result<CodeBlob> emitHostKernels(std::span<const kernels::HostKernelSpec> specs,
                                 const kernels::HostTarget &target, const EmitOptions &options) {
  PLATEN_ASSIGN_OR_RETURN(const std::vector<Request> requests, uniqueRequests(specs));
  std::vector<ObjectFile> objects(requests.size());
  std::atomic<size_t> next = 0;
  std::mutex mutex; // guards done, failure and progress
  size_t done = 0;
  std::optional<std::pair<size_t, Status>>
      failure; // of the first request that fails, whoever finds it first
  auto work = [&] {
    Lowerer lowerer(target);
    for (size_t index = next++; index < requests.size(); index = next++) {
      auto object = [&]() -> Result<ObjectFile> {
        PLATEN_ASSIGN_OR_RETURN(auto module, buildModule(lowerer, *requests[index].spec, target));
        return lowerer.toObject(*module, requests[index].name, middleEndOf(*requests[index].spec));
      }();
      const std::lock_guard lock(mutex);
      if (object.isOk())
        objects[index] = std::move(object).value();
      else if (!failure || index < failure->first)
        failure.emplace(index, object.status());
      if (options.progress)
        options.progress(++done, requests.size());
    }
  };
  const size_t extra =
      std::min<size_t>(std::max(1U, options.threads), std::max<size_t>(1, requests.size())) - 1;
  std::vector<std::thread> threads = base::startThreads(extra, work);
  work(); // this thread is one of them
  for (std::thread &thread : threads)
    thread.join();
  if (failure)
    return failure->second.at(requests[failure->first].name);
  return flatLink(objects);
}

Result<CodeBlob> emitHostModule(mlir::ModuleOp kernels, const kernels::HostTarget &target) {
  Lowerer lowerer(target);
  PLATEN_ASSIGN_OR_RETURN(const ObjectFile object, lowerer.toObject(kernels, "module"));
  return flatLink(std::span(&object, 1));
}

Result<std::string> hostKernelAssembly(const kernels::HostKernelSpec &spec,
                                       const kernels::HostTarget &target) {
  Lowerer lowerer(target);
  PLATEN_ASSIGN_OR_RETURN(auto module, buildModule(lowerer, spec, target));
  return lowerer.toAssembly(*module, "kernel", middleEndOf(spec));
}

} // namespace platen::compiler
