// A C handle around an engine that was built by other means than platen_engine_load(): for tests of
// the C interface.
#pragma once

#include "runtime/engine/platen.h"
#include "runtime/engine/platen_c.h"

namespace platen::engine {

/// Freed by platen_engine_free().
PlatenEngine *wrapForC(Engine engine);

} // namespace platen::engine
