// platen-ptxsim ptx: kernels, parameters and refusals of a PTX file. platen-ptxsim hash: the name
// under which PLATEN_PTXSIM_PTX_PATH must hold the PTX of a cubin.
#include "tools/ptxsim/cli/commands.h"

#include "tools/ptxsim/core/simulator.h"
#include "tools/ptxsim/driver/cubin.h"

#include <fstream>
#include <iostream>
#include <sstream>

namespace platen::ptxsim::cli {
namespace {

bool readFile(const std::string &path, std::string &text) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream stream;
  stream << file.rdbuf();
  text = stream.str();
  if (!file)
    std::cerr << "platen-ptxsim: cannot read " << path << "\n";
  return static_cast<bool>(file);
}

void printKernel(const KernelInfo &kernel) {
  std::cout << "kernel " << kernel.name << " (line " << kernel.line << ")\n"
            << "  static shared " << kernel.staticSharedBytes << " bytes, local "
            << kernel.localBytes << " bytes a thread, at most " << kernel.registerEstimate
            << " registers (estimated)\n";
  if (kernel.requiredCluster.x)
    std::cout << "  clusters of " << kernel.requiredCluster.x << " x " << kernel.requiredCluster.y
              << " x " << kernel.requiredCluster.z << "\n";
  if (kernel.maxThreads)
    std::cout << "  at most " << kernel.maxThreads << " threads a block\n";
  for (const KernelParameter &parameter : kernel.parameters)
    std::cout << "  parameter " << parameter.name << ": " << parameter.size << " bytes at "
              << parameter.offset << "\n";
  for (const Refusal &refusal : kernel.refusals)
    std::cout << "  refused: " << refusal.toString() << "\n";
}

/// 0: every kernel can be simulated; 1: some cannot; 2: the file is no PTX.
int listPtx(const std::string &path) {
  std::string text;
  if (!readFile(path, text))
    return 2;
  auto module = Module::parse(std::move(text));
  if (!module) {
    std::cerr << "platen-ptxsim: " << path << ": " << module.status().toString() << "\n";
    return 2;
  }
  std::cout << "PTX " << (*module)->version() / 10 << "." << (*module)->version() % 10 << " for "
            << (*module)->target() << "\n";
  bool isComplete = true;
  for (const GlobalVariable &variable : (*module)->globals())
    std::cout << (variable.isConstant ? "constant " : "global ") << variable.name << ": "
              << variable.size << " bytes" << (variable.isExternal ? ", external" : "") << "\n";
  for (const KernelInfo &kernel : (*module)->kernels()) {
    printKernel(kernel);
    isComplete = isComplete && kernel.refusals.empty();
  }
  return isComplete ? 0 : 1;
}

int hashCubin(const std::string &path) {
  std::string bytes;
  if (!readFile(path, bytes))
    return 2;
  auto span = std::as_bytes(std::span(bytes.data(), bytes.size()));
  auto cubin = driver::parseCubin(span);
  if (!cubin) {
    std::cerr << "platen-ptxsim: " << path << ": " << cubin.status().toString() << "\n";
    return 2;
  }
  std::cout << driver::cubinHash(span) << "\n";
  return 0;
}

} // namespace

void addPtxCommand(CLI::App &app, int &exitCode) {
  auto path = std::make_shared<std::string>();
  CLI::App *ptx = app.add_subcommand("ptx", "List the kernels of a PTX file and what is refused");
  ptx->add_option("file", *path, "PTX text")->required();
  ptx->callback([path, &exitCode] { exitCode = listPtx(*path); });
  CLI::App *hash =
      app.add_subcommand("hash", "The name of a cubin's PTX in the folder of --ptx-path");
  hash->add_option("file", *path, "cubin")->required();
  hash->callback([path, &exitCode] { exitCode = hashCubin(*path); });
}

} // namespace platen::ptxsim::cli
