// A pass is one line here; its name and description stand in its class.
#include "compiler/passes.h"

#include "compiler/fuse/fuse.h"
#include "compiler/import/fold.h"
#include "compiler/import/widen.h"
#include "compiler/serve/serve_pass.h"

#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"

namespace platen::compiler {

void registerPasses() {
  mlir::registerCanonicalizerPass();
  mlir::registerCSEPass();
  mlir::registerPass([] { return createWidenPass(); });
  mlir::registerPass([] { return createFoldPass(); });
  mlir::registerPass([] { return createServePass(); });
  registerFusePasses();
}

} // namespace platen::compiler
