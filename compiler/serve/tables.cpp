#include "compiler/serve/tables.h"
#include "ops/ir/adaptor.h"
#include "ops/ir/dialect.h"
#include "ops/ir/widened_type.h"

#include <algorithm>

namespace platen::compiler::serve {

using base::Result;
using base::unsupported;

std::string Tables::add(ops::Tensor table, llvm::StringRef stem) {
  for (const ComputedWeight &existing : info_.computed)
    if (existing.value->type() == table.type() &&
        std::ranges::equal(existing.value->bytes(), table.bytes()))
      return existing.name;
  std::string name;
  for (size_t i = 0; name.empty() || module_.lookupSymbol(name); ++i)
    name = "rope" + std::to_string(i) + "." + stem.str();
  std::string file = "computed#" + name;
  mlir::OpBuilder builder = mlir::OpBuilder::atBlockBegin(module_.getBody());
  made_.push_back(builder.create<ir::InitializerOp>(
      module_.getLoc(), name, ir::toMlirType(builder.getContext(), table.type()), file, 0,
      static_cast<int64_t>(table.bytes().size())));
  info_.computed.push_back({name, file, std::make_shared<const ops::Tensor>(std::move(table))});
  return name;
}

mlir::Value Tables::weight(mlir::OpBuilder &builder, mlir::Location location,
                           llvm::StringRef name) {
  auto initializer = module_.lookupSymbol<ir::InitializerOp>(name);
  return builder.create<ir::WeightOp>(location, ir::widenedType(initializer.getType()), name);
}

Result<Tables::Evaluated> Tables::evaluate(mlir::Operation *op, const Rope &rope) {
  auto tables = evaluateTables(evaluation_, rope, positions_);
  if (!tables.isOk())
    return tables.status().at(originOf(op));
  return Evaluated{rope.cos,
                   rope.sin,
                   rope.interleaved,
                   rope.sinSign,
                   add(std::move(tables->cos), "cos"),
                   add(std::move(tables->sin), "sin")};
}

Result<TablePair> Tables::evaluated(mlir::Operation *op, const Rope &rope,
                                    mlir::OpBuilder &builder) {
  auto found = std::ranges::find_if(evaluated_, [&](const Evaluated &entry) {
    return entry.cos == rope.cos && entry.sin == rope.sin &&
           entry.interleaved == rope.interleaved && entry.sinSign == rope.sinSign;
  });
  if (found == evaluated_.end()) {
    PLATEN_ASSIGN_OR_RETURN(Evaluated fresh, evaluate(op, rope));
    found = evaluated_.insert(evaluated_.end(), std::move(fresh));
  }
  return TablePair{weight(builder, op->getLoc(), found->cosName),
                   weight(builder, op->getLoc(), found->sinName)};
}

Result<mlir::Value> Tables::stored(mlir::Operation *op, mlir::Value table,
                                   mlir::OpBuilder &builder) {
  auto source = table.getDefiningOp<ir::WeightOp>();
  auto initializer =
      source ? module_.lookupSymbol<ir::InitializerOp>(source.getInitializer()) : nullptr;
  auto type = initializer ? ir::toTensorType(initializer.getType()) : std::nullopt;
  if (!type || type->rank() != 2 || type->dims[0] == 0)
    return unsupported("its rotary table is no stored weight of dimensions [positions, r/2]",
                       originOf(op));
  int64_t rows = type->dims[0];
  if (rows < positions_)
    return unsupported("its rotary tables hold " + std::to_string(rows) + " positions, " +
                           std::to_string(positions_) +
                           " were asked for; choose a maximum context of at most " +
                           std::to_string(rows),
                       originOf(op));
  if (rows == positions_)
    return weight(builder, op->getLoc(), source.getInitializer());
  std::string name = (source.getInitializer() + ".first" + llvm::Twine(positions_)).str();
  if (!module_.lookupSymbol(name)) {
    type->dims[0] = positions_;
    mlir::OpBuilder atInitializer(initializer);
    made_.push_back(atInitializer.create<ir::InitializerOp>(
        initializer.getLoc(), name, ir::toMlirType(builder.getContext(), *type),
        initializer.getFile(), initializer.getOffset(),
        initializer.getBytes() / rows * positions_));
  }
  return weight(builder, op->getLoc(), name);
}

void Tables::discard() {
  for (mlir::Operation *op : made_)
    op->erase();
  made_.clear();
  info_.computed.clear();
}

} // namespace platen::compiler::serve
