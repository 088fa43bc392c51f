// What `platen inspect` says of plans of graphs that are no decoders.
#pragma once

#include "runtime/plan/plan.h"

#include <nlohmann/json_fwd.hpp>

namespace platen::cli {

/// Symbols, inputs and outputs.
void printSignature(const plan::GraphSignature &graph);
/// The buffers of a program, by the name that reports have for it.
void printBuffers(const std::string &program_name, const plan::DeviceProgram &program,
                  const plan::GraphSignature &graph);

nlohmann::json signatureJson(const plan::GraphSignature &graph);
/// Buffers and points of launches, added to what reports say of every program.
void addGraphParts(const plan::DeviceProgram &program, const plan::GraphSignature &graph,
                   nlohmann::json &json);

} // namespace platen::cli
