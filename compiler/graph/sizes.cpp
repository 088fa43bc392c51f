#include "compiler/graph/sizes.h"

#include "ops/ir/adaptor.h"
#include "ops/ir/dialect.h"

#include <cmath>
#include <map>
#include <random>

namespace platen::compiler {

using base::Result;
using base::Size;
using base::Status;

namespace {

constexpr size_t kMaxSymbols = 8, kMaxDegree = 3, kExtraRuns = 4;
constexpr int64_t kMaxElements = 64;

std::string nodeOf(mlir::Value value) {
  if (auto name = mlir::dyn_cast<mlir::NameLoc>(value.getLoc()))
    return name.getName().str();
  return "a value";
}

/// "a + b * 2 - 1": sums of products of names and numbers, as exporters write dimensions. Nullopt
/// for anything else.
std::optional<Size> parseDimension(llvm::StringRef text,
                                   const std::function<Size(llvm::StringRef)> &symbol) {
  Size sum = 0;
  bool isNegative = false;
  while (true) {
    const size_t end = text.find_first_of("+-");
    Size product = 1;
    llvm::SmallVector<llvm::StringRef> factors;
    text.take_front(end).split(factors, '*');
    for (llvm::StringRef factor : factors) {
      factor = factor.trim();
      int64_t number = 0;
      if (factor.empty() || factor.find_first_of("/() ") != llvm::StringRef::npos)
        return std::nullopt;
      product = product * (factor.getAsInteger(10, number) ? symbol(factor) : Size(number));
    }
    sum = isNegative ? sum - product : sum + product;
    if (end == llvm::StringRef::npos)
      return sum;
    isNegative = text[end] == '-';
    text = text.drop_front(end + 1);
  }
}

/// Products of at most kMaxDegree of `symbols`, the constant first.
std::vector<std::vector<uint32_t>> monomialsOf(uint32_t symbols) {
  std::vector<std::vector<uint32_t>> all = {{}};
  for (size_t begin = 0, degree = 0; degree < kMaxDegree; ++degree) {
    const size_t end = all.size();
    for (size_t i = begin; i < end; ++i)
      for (uint32_t symbol = all[i].empty() ? 0 : all[i].back(); symbol < symbols; ++symbol) {
        all.push_back(all[i]);
        all.back().push_back(symbol);
      }
    begin = end;
  }
  return all;
}

} // namespace

Status GraphSizes::nameSymbols(mlir::func::FuncOp function) {
  std::map<std::string, uint32_t> known;
  auto named = [&](const std::string &name) {
    auto [entry, isNew] = known.try_emplace(name, static_cast<uint32_t>(symbols_.size()));
    if (isNew)
      symbols_.push_back(name);
    return Size::symbol(entry->second);
  };
  for (mlir::BlockArgument argument : function.getArguments()) {
    auto type = ir::toTensorType(argument.getType());
    if (!type)
      return base::unsupported("input " + std::to_string(argument.getArgNumber()) +
                               " has no rank or no known dtype");
    auto names = function.getArgAttrOfType<mlir::ArrayAttr>(argument.getArgNumber(), "platen.dims");
    std::vector<Size> &dims = arguments_.emplace_back();
    for (size_t axis = 0; axis < type->dims.size(); ++axis) {
      if (type->dims[axis] != ops::kDynamic) {
        dims.emplace_back(type->dims[axis]);
        continue;
      }
      std::string text;
      if (names && axis < names.size())
        text = mlir::cast<mlir::StringAttr>(names[axis]).getValue().str();
      if (text.empty())
        text = "dim" + std::to_string(argument.getArgNumber()) + "_" + std::to_string(axis);
      std::optional<Size> size =
          parseDimension(text, [&](llvm::StringRef name) { return named(name.str()); });
      dims.push_back(size ? *size : named(text));
    }
  }
  if (symbols_.size() > kMaxSymbols)
    return base::unsupported("the inputs have " + std::to_string(symbols_.size()) +
                             " dimensions that only a run knows, more than " +
                             std::to_string(kMaxSymbols) +
                             "; give equal dimensions one name, or fix some");
  return Status::ok();
}

Status GraphSizes::evaluate(mlir::func::FuncOp function, const ir::WeightReader &reader) {
  const auto symbols = static_cast<uint32_t>(symbols_.size());
  monomials_ = monomialsOf(symbols);
  const size_t count = symbols == 0 ? 1 : monomials_.size() + kExtraRuns;
  std::mt19937 random(1);
  for (size_t run = 0; run < count; ++run) {
    std::vector<int64_t> sample;
    for (uint32_t symbol = 0; symbol < symbols; ++symbol)
      sample.push_back(2 + static_cast<int64_t>(random() % 29));
    std::vector<ir::Knowledge> arguments;
    for (mlir::BlockArgument argument : function.getArguments()) {
      ops::TensorType type = *ir::toTensorType(argument.getType());
      for (size_t axis = 0; axis < type.dims.size(); ++axis) {
        PLATEN_ASSIGN_OR_RETURN(type.dims[axis],
                                arguments_[argument.getArgNumber()][axis].evaluate(sample));
      }
      arguments.push_back({type, nullptr});
    }
    PLATEN_ASSIGN_OR_RETURN(Run known, ir::Interpreter(reader).propagate(function, arguments));
    runs_.push_back(std::move(known));
    samples_.push_back(std::move(sample));
  }
  return Status::ok();
}

// Least squares would hide what is no polynomial: solve exactly on the first runs, check on the
// rest.
std::optional<Size> GraphSizes::fitOne(const std::vector<int64_t> &values) const {
  if (std::all_of(values.begin(), values.end(), [&](int64_t v) { return v == values[0]; }))
    return Size(values[0]);
  const size_t n = monomials_.size();
  if (values.size() < n)
    return std::nullopt;
  std::vector<std::vector<long double>> rows(n, std::vector<long double>(n + 1));
  for (size_t run = 0; run < n; ++run) {
    for (size_t m = 0; m < n; ++m) {
      rows[run][m] = 1;
      for (uint32_t symbol : monomials_[m])
        rows[run][m] *= static_cast<long double>(samples_[run][symbol]);
    }
    rows[run][n] = static_cast<long double>(values[run]);
  }
  for (size_t column = 0; column < n; ++column) {
    size_t pivot = column;
    for (size_t row = column; row < n; ++row)
      if (std::fabs(rows[row][column]) > std::fabs(rows[pivot][column]))
        pivot = row;
    if (std::fabs(rows[pivot][column]) < 1e-9L)
      return std::nullopt;
    std::swap(rows[pivot], rows[column]);
    for (size_t row = 0; row < n; ++row) {
      if (row == column)
        continue;
      const long double factor = rows[row][column] / rows[column][column];
      for (size_t i = column; i <= n; ++i)
        rows[row][i] -= factor * rows[column][i];
    }
  }
  Size size = 0;
  for (size_t m = 0; m < n; ++m) {
    const long double coefficient = std::round(rows[m][n] / rows[m][m]);
    if (std::fabs(coefficient) > 0x1p62L)
      return std::nullopt;
    Size product = static_cast<int64_t>(coefficient);
    for (uint32_t symbol : monomials_[m])
      product = product * Size::symbol(symbol);
    size = size + product;
  }
  for (size_t run = 0; run < values.size(); ++run) {
    auto check = size.evaluate(samples_[run]);
    if (!check.isOk() || *check != values[run])
      return std::nullopt;
  }
  return size;
}

Status GraphSizes::fit(mlir::Value value) {
  const ir::Knowledge first = runs_[0].lookup(value);
  std::vector<Size> dims;
  for (size_t axis = 0; axis < first.type.dims.size(); ++axis) {
    std::vector<int64_t> values;
    for (const Run &run : runs_) {
      values.push_back(run.lookup(value).type.dims[axis]);
      if (values.back() == ops::kDynamic)
        return base::unsupported("dimension " + std::to_string(axis) + " of " + nodeOf(value) +
                                 " depends on the data; such graphs are not supported");
    }
    std::optional<Size> size = fitOne(values);
    if (!size)
      return base::unsupported("dimension " + std::to_string(axis) + " of " + nodeOf(value) +
                               " is no polynomial of the inputs' dimensions; fix one of them");
    dims.push_back(std::move(*size));
  }
  dims_[value] = std::move(dims);
  const bool isInteger =
      first.type.dtype == ops::DType::kI64 || first.type.dtype == ops::DType::kI32;
  if (!first.value || !isInteger || first.type.elementCount() > kMaxElements)
    return Status::ok();
  std::vector<Size> elements;
  for (int64_t i = 0; i < first.type.elementCount(); ++i) {
    std::vector<int64_t> values;
    for (const Run &run : runs_) {
      const ir::Knowledge known = run.lookup(value);
      if (!known.value || known.type != first.type)
        return Status::ok();
      values.push_back(known.value->getInt(i));
    }
    std::optional<Size> size = fitOne(values);
    if (!size)
      return Status::ok();
    elements.push_back(std::move(*size));
  }
  elements_[value] = std::move(elements);
  return Status::ok();
}

Result<GraphSizes> GraphSizes::of(mlir::func::FuncOp function, const ir::WeightReader &reader) {
  GraphSizes sizes;
  PLATEN_RETURN_IF_ERROR(sizes.nameSymbols(function));
  PLATEN_RETURN_IF_ERROR(sizes.evaluate(function, reader));
  for (mlir::BlockArgument argument : function.getArguments())
    sizes.dims_[argument] = sizes.arguments_[argument.getArgNumber()];
  for (mlir::Operation &op : function.getBody().front())
    for (mlir::Value result : op.getResults())
      if (!mlir::isa<mlir::NoneType>(result.getType()))
        PLATEN_RETURN_IF_ERROR(sizes.fit(result));
  return sizes;
}

std::optional<std::vector<Size>> GraphSizes::elements(mlir::Value value) const {
  auto found = elements_.find(value);
  return found == elements_.end() ? std::nullopt : std::optional(found->second);
}

const ops::Tensor *GraphSizes::constant(mlir::Value value) const {
  auto found = runs_[0].find(value);
  if (found == runs_[0].end() || !found->second.value)
    return nullptr;
  const ops::Tensor &first = *found->second.value;
  for (const Run &run : runs_) {
    const ir::Knowledge other = run.lookup(value);
    if (!other.value || other.type != first.type() ||
        !std::equal(first.bytes().begin(), first.bytes().end(), other.value->bytes().begin()))
      return nullptr;
  }
  return &first;
}

} // namespace platen::compiler
