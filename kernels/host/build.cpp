#include "kernels/host/builders.h"

#include "kernels/host/builders_detail.h"

namespace platen::kernels {

namespace {
void buildBody(Ir &ir, const MatmulSpec &spec) { buildMatmul(ir, spec); }
void buildBody(Ir &ir, const QuantizeRowsSpec &spec) { buildQuantizeRows(ir, spec); }
void buildBody(Ir &ir, const RowProgramSpec &spec) { buildRowProgram(ir, spec); }
void buildBody(Ir &ir, const EmbedSpec &spec) { buildEmbed(ir, spec); }
void buildBody(Ir &ir, const QkvFinishSpec &spec) { buildQkvFinish(ir, spec); }
void buildBody(Ir &ir, const PagedAttentionSpec &spec) { buildPagedAttention(ir, spec); }
void buildBody(Ir &ir, const SelectRowsSpec &spec) { buildSelectRows(ir, spec); }
void buildBody(Ir &, const LoopSpec &) {} // the only one that can fail: below
} // namespace

base::Status buildHostKernel(mlir::ModuleOp module, const HostKernelSpec &spec,
                             const HostTarget &target) {
  PLATEN_ASSIGN_OR_RETURN(const HostKernelInfo info, describeHostKernel(spec));
  Ir ir(module, info.name, target);
  if (const auto *loops = std::get_if<LoopSpec>(&spec))
    PLATEN_RETURN_IF_ERROR(buildLoops(ir, *loops));
  else
    std::visit([&](const auto &one) { buildBody(ir, one); }, spec);
  ir.finish();
  return base::Status::ok();
}

} // namespace platen::kernels
