// Stands in for Engine::load in a build of the example service that needs no plan: the arithmetic
// model of the engine's tests.
#include "runtime/engine/fake_model.h"

namespace platen::engine {

base::Result<Engine> Engine::load(const std::string &, const EngineOptions &) {
  return fake::makeEngine(fake::Style::kAlphabet);
}

} // namespace platen::engine
