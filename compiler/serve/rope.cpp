// Tables are built in chunks of positions, each chunk one run with its past; rows are then compared
// with runs of other lengths.
#include "compiler/serve/rope.h"
#include "compiler/serve/trace.h"

#include <algorithm>
#include <cmath>

namespace platen::compiler::serve {

using base::Result;
using base::Status;
using base::unsupported;
using ops::Tensor;

namespace {

/// Positions evaluated at a time: bounds memory and, for graphs whose tables depend on lengths,
/// makes runs differ.
constexpr int64_t kChunk = 1024;

struct Product {
  mlir::Value data, coefficient;
};

std::optional<Product> productOf(const Evaluation &evaluation, mlir::Value value) {
  mlir::Operation *op = value.getDefiningOp();
  if (!op || op->getName().stripDialect() != "mul")
    return std::nullopt;
  for (unsigned i : {0U, 1U}) {
    mlir::Value data = op->getOperand(i), coefficient = op->getOperand(1 - i);
    if (evaluation.isData(data) && evaluation.kind(coefficient) == Kind::kPosition &&
        evaluation.valueAt(0, coefficient))
      return Product{data, coefficient};
  }
  return std::nullopt;
}

/// turned(x)[…, j] = sign[j] · x[…, from[j]].
struct Turn {
  std::vector<int64_t> from;
  std::vector<double> sign;
};

std::optional<Turn> turnOf(const Evaluation &evaluation, mlir::Value turned, mlir::Value x) {
  if (turned == x)
    return std::nullopt;
  auto traced = traceElements(evaluation, turned, x, /*throughScales=*/false);
  Extents extents = evaluation.extents(x);
  if (!traced || extents.empty() || evaluation.extents(turned) != extents)
    return std::nullopt;
  int64_t width = extents.back()[0];
  Turn turn{std::vector<int64_t>(static_cast<size_t>(width)),
            std::vector<double>(static_cast<size_t>(width))};
  for (int64_t i = 0; i < traced->elementCount(); ++i) {
    double value = traced->get(i);
    auto source = static_cast<int64_t>(std::abs(value)) - 1;
    auto column = static_cast<size_t>(i % width);
    if (i < width) {
      turn.from[column] = source;
      turn.sign[column] = value < 0 ? -1 : 1;
    }
    bool sameRow = source / width == i / width;
    if (!sameRow || source % width != turn.from[column] || (value < 0) != (turn.sign[column] < 0))
      return std::nullopt;
  }
  return turn;
}

/// The pair that element j of the last axis belongs to, and whether it is the pair's second.
struct PairPlace {
  int64_t pair;
  bool second;
};

PairPlace placeOf(int64_t j, int64_t width, bool interleaved) {
  if (interleaved)
    return {j / 2, j % 2 == 1};
  return {j % (width / 2), j >= width / 2};
}

int64_t columnOf(PairPlace place, int64_t width, bool interleaved) {
  if (interleaved)
    return 2 * place.pair + (place.second ? 1 : 0);
  return place.pair + (place.second ? width / 2 : 0);
}

/// Whether the turn exchanges the two elements of each pair and negates one: the first (1) or the
/// second (−1).
std::optional<double> signOf(const Turn &turn, bool interleaved) {
  auto width = static_cast<int64_t>(turn.from.size());
  double sign = -turn.sign[0];
  for (int64_t j = 0; j < width; ++j) {
    PairPlace place = placeOf(j, width, interleaved);
    PairPlace partner{place.pair, !place.second};
    double expected = place.second ? sign : -sign;
    if (turn.from[static_cast<size_t>(j)] != columnOf(partner, width, interleaved) ||
        turn.sign[static_cast<size_t>(j)] != expected)
      return std::nullopt;
  }
  return sign;
}

std::optional<Rope> ropeOf(const Evaluation &evaluation, const Product &straight,
                           const Product &turned) {
  auto turn = turnOf(evaluation, turned.data, straight.data);
  if (!turn || turn->from.size() % 2 != 0)
    return std::nullopt;
  for (bool interleaved : {false, true})
    if (auto sign = signOf(*turn, interleaved))
      return Rope{straight.data, straight.coefficient, turned.coefficient, interleaved, *sign};
  return std::nullopt;
}

/// Copies rows of a coefficient, [.., s, .., r] for one run, as [s, r]; Unsupported if it varies
/// otherwise.
class Rows {
public:
  static Result<Rows> of(const Tensor &coefficient, const Sizes &sizes, int64_t width) {
    Rows rows{coefficient, sizes, width};
    int64_t one = sizes.sequence * width, count = coefficient.elementCount();
    if (coefficient.dims().empty() || coefficient.dims().back() != width ||
        (count != one && count != one * sizes.batch))
      return unsupported("cos or sin of the rotary embedding is " + coefficient.type().toString() +
                         " for batch " + std::to_string(sizes.batch) + " and sequence " +
                         std::to_string(sizes.sequence) + "; it must hold one row of " +
                         std::to_string(width) + " a position");
    for (int64_t i = one; i < count; ++i)
      if (coefficient.get(i) != coefficient.get(i % one))
        return unsupported(
            "cos or sin of the rotary embedding differs between sequences at the same position");
    return rows;
  }
  double at(int64_t row, int64_t column) const { return coefficient_.get(row * width_ + column); }

private:
  Rows(const Tensor &coefficient, const Sizes &sizes, int64_t width)
      : coefficient_(coefficient), sizes_(sizes), width_(width) {}
  const Tensor &coefficient_;
  Sizes sizes_;
  int64_t width_;
};

class TableBuilder {
public:
  TableBuilder(const Evaluation &evaluation, const Rope &rope, int64_t positions)
      : rope_(rope), probe_(evaluation, {rope.cos, rope.sin}), positions_(positions),
        width_(evaluation.extents(rope.x).back()[0]) {
    ops::TensorType type{ops::DType::kF32, {positions, width_ / 2}};
    tables_ = {Tensor(type), Tensor(type)};
  }

  Result<RopeTables> build() {
    for (int64_t past = 0; past < positions_; past += kChunk)
      PLATEN_RETURN_IF_ERROR(visit({1, std::min(kChunk, positions_ - past), past}, /*write=*/true));
    // The same rows in other company: alone at the powers of two and at the end, in a batch, after
    // another past.
    for (int64_t past = 1; past < positions_; past *= 2) {
      PLATEN_RETURN_IF_ERROR(visit({1, 1, past - 1}, false));
      PLATEN_RETURN_IF_ERROR(visit({1, 1, past}, false));
    }
    PLATEN_RETURN_IF_ERROR(visit({1, 1, positions_ - 1}, false));
    for (const Sizes &sizes : kSizes)
      if (sizes.total() <= positions_)
        PLATEN_RETURN_IF_ERROR(visit(sizes, false));
    return std::move(tables_);
  }

private:
  Status visit(const Sizes &sizes, bool write) {
    PLATEN_ASSIGN_OR_RETURN(auto values, probe_.at({sizes, std::nullopt}));
    PLATEN_ASSIGN_OR_RETURN(Rows cos, Rows::of(*values[0], sizes, width_));
    PLATEN_ASSIGN_OR_RETURN(Rows sin, Rows::of(*values[1], sizes, width_));
    for (int64_t row = 0; row < sizes.sequence; ++row)
      for (int64_t pair = 0; pair < width_ / 2; ++pair)
        PLATEN_RETURN_IF_ERROR(visitPair(cos, sin, sizes, row, pair, write));
    return Status::ok();
  }

  Status visitPair(const Rows &cos, const Rows &sin, const Sizes &sizes, int64_t row, int64_t pair,
                   bool write) {
    int64_t first = columnOf({pair, false}, width_, rope_.interleaved);
    int64_t second = columnOf({pair, true}, width_, rope_.interleaved);
    int64_t position = sizes.past + row, index = position * (width_ / 2) + pair;
    double c = cos.at(row, first), s = sin.at(row, first);
    if (c != cos.at(row, second) || s != sin.at(row, second))
      return unsupported("the two elements of pair " + std::to_string(pair) +
                         " of a rotary embedding turn by different angles at position " +
                         std::to_string(position));
    if (write) {
      tables_.cos.set(index, c);
      tables_.sin.set(index, rope_.sinSign * s);
    } else if (tables_.cos.get(index) != c || tables_.sin.get(index) != rope_.sinSign * s) {
      return unsupported("the rotary embedding at position " + std::to_string(position) +
                         " depends on the sequence's length (it differs at past " +
                         std::to_string(sizes.past) + ", sequence " +
                         std::to_string(sizes.sequence) +
                         "); only tables of the position are supported");
    }
    return Status::ok();
  }

  const Rope &rope_;
  Probe probe_;
  int64_t positions_, width_;
  RopeTables tables_;
};

} // namespace

std::optional<Rope> matchRope(const Evaluation &evaluation, mlir::Operation *add) {
  if (add->getName().stripDialect() != "add")
    return std::nullopt;
  auto left = productOf(evaluation, add->getOperand(0)),
       right = productOf(evaluation, add->getOperand(1));
  if (!left || !right)
    return std::nullopt;
  if (auto rope = ropeOf(evaluation, *left, *right))
    return rope;
  return ropeOf(evaluation, *right, *left);
}

Result<RopeTables> evaluateTables(const Evaluation &evaluation, const Rope &rope,
                                  int64_t positions) {
  return TableBuilder(evaluation, rope, positions).build();
}

} // namespace platen::compiler::serve
