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
void buildBody(Ir &, const LoopSpec &) {} // refused before
} // namespace

base::Status buildHostKernel(mlir::ModuleOp module, const HostKernelSpec &spec,
                             const HostTarget &target) {
  if (std::holds_alternative<LoopSpec>(spec))
    return base::unsupported("loops on the host");
  PLATEN_ASSIGN_OR_RETURN(const HostKernelInfo info, describeHostKernel(spec));
  Ir ir(module, info.name, target);
  std::visit([&](const auto &one) { buildBody(ir, one); }, spec);
  ir.finish();
  return base::Status::ok();
}

} // namespace platen::kernels
