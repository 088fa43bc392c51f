// See einsum.md. Axes are numbered by their letters; those of an ellipsis count from the end.
#include "ops/einsum/einsum.h"
#include "ops/elementwise.h"

#include <algorithm>
#include <map>

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

using Labels = std::vector<int>; ///< of axes: letters, or kEllipsis - k for the k-th from the end
constexpr int kEllipsis = -1;

/// The terms of the equation with the ellipses resolved.
struct Equation {
  std::vector<Labels> inputs;
  Labels output, summed;
};

/// One term: letters, with `ellipsis` axes in place of "...".
Result<Labels> parseTerm(std::string_view term, int64_t ellipsis) {
  Labels labels;
  for (size_t i = 0; i < term.size(); ++i) {
    if (term[i] == '.' && term.substr(i, 3) == "...") {
      for (int64_t axis = ellipsis; axis-- > 0;)
        labels.push_back(kEllipsis - static_cast<int>(axis));
      i += 2;
    } else if ((term[i] >= 'a' && term[i] <= 'z') || (term[i] >= 'A' && term[i] <= 'Z')) {
      labels.push_back(term[i]);
    } else {
      return invalidArgument("C2: the equation holds '" + std::string(1, term[i]) + "'");
    }
  }
  return labels;
}

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts(1);
  for (char c : text)
    if (c == ',')
      parts.emplace_back();
    else
      parts.back() += c;
  return parts;
}

/// The output that an equation without "->" means: the ellipsis, then the letters that stand once.
Labels impliedOutput(const std::vector<Labels> &inputs) {
  std::map<int, int> counts;
  for (const Labels &labels : inputs)
    for (int label : labels)
      ++counts[label];
  Labels output;
  for (const auto &[label, count] : counts)
    if (label < 0 || count == 1)
      output.push_back(label); // ascending: the ellipsis' axes come first, in their order
  return output;
}

Result<Equation> equationOf(const std::vector<int64_t> &ranks, const Attributes &attributes) {
  std::string text;
  for (char c : stringAttribute(attributes, "equation"))
    if (c != ' ')
      text += c;
  const size_t arrow = text.find("->");
  const std::vector<std::string> terms = split(std::string_view(text).substr(0, arrow));
  if (terms.size() != ranks.size())
    return invalidArgument("C2: the equation '" + text + "' has " + std::to_string(terms.size()) +
                           " terms for " + std::to_string(ranks.size()) + " operands");
  Equation equation;
  int64_t most = 0;
  for (size_t i = 0; i < terms.size(); ++i) {
    const bool dots = terms[i].find("...") != std::string::npos;
    const int64_t named = static_cast<int64_t>(terms[i].size()) - (dots ? 3 : 0),
                  hidden = ranks[i] - named;
    if (dots ? hidden < 0 : hidden != 0)
      return invalidArgument("C3: the term '" + terms[i] + "' does not fit I" +
                             std::to_string(i + 1) + " of rank " + std::to_string(ranks[i]));
    most = std::max(most, hidden);
    PLATEN_ASSIGN_OR_RETURN(equation.inputs.emplace_back(), parseTerm(terms[i], hidden));
  }
  equation.output = impliedOutput(equation.inputs);
  if (arrow != std::string::npos) {
    PLATEN_ASSIGN_OR_RETURN(equation.output,
                            parseTerm(std::string_view(text).substr(arrow + 2), most));
  }
  Labels known;
  for (const Labels &labels : equation.inputs)
    for (int label : labels)
      if (std::find(known.begin(), known.end(), label) == known.end())
        known.push_back(label);
  for (size_t i = 0; i < equation.output.size(); ++i) {
    const int label = equation.output[i];
    if (std::find(known.begin(), known.end(), label) == known.end() ||
        std::find(equation.output.begin(), equation.output.begin() + static_cast<std::ptrdiff_t>(i),
                  label) != equation.output.begin() + static_cast<std::ptrdiff_t>(i))
      return invalidArgument("C5: the output of '" + text +
                             "' names an axis that no term has, or " + "one twice");
  }
  for (int label : known)
    if (std::find(equation.output.begin(), equation.output.end(), label) == equation.output.end())
      equation.summed.push_back(label);
  return equation;
}

/// The length of each label; an ellipsis' axis of length 1 repeats.
template <typename Dim, typename Fits>
Result<std::map<int, Dim>> lengthsOf(const Equation &equation,
                                     const std::vector<std::vector<Dim>> &dims, Fits fits) {
  std::map<int, Dim> lengths;
  for (size_t i = 0; i < dims.size(); ++i)
    for (size_t axis = 0; axis < dims[i].size(); ++axis) {
      const int label = equation.inputs[i][axis];
      auto [known, isNew] = lengths.try_emplace(label, dims[i][axis]);
      if (isNew)
        continue;
      if (label < 0 && known->second == Dim(1))
        known->second = dims[i][axis];
      else if (!(label < 0 && dims[i][axis] == Dim(1)) && !fits(known->second, dims[i][axis]))
        return invalidArgument("C4: axis " + std::to_string(axis) + " of I" +
                               std::to_string(i + 1) + " differs from an axis of the same letter");
    }
  return lengths;
}

InferResult infer(const InferContext &context) {
  std::vector<int64_t> ranks;
  std::vector<std::vector<int64_t>> dims;
  for (const TensorType *type : context.types) {
    if (!base::isFloat(type->dtype) || type->dtype != context.types[0]->dtype)
      return invalidArgument("C1: an operand is " + type->toString() +
                             "; all must have one float dtype");
    ranks.push_back(type->rank());
    dims.push_back(type->dims);
  }
  PLATEN_ASSIGN_OR_RETURN(const Equation equation, equationOf(ranks, context.attributes));
  using Lengths = std::map<int, int64_t>;
  PLATEN_ASSIGN_OR_RETURN(const Lengths lengths, lengthsOf(equation, dims, mayEqual));
  if (context.types.empty())
    return invalidArgument("C2: there are no operands");
  TensorType result{context.types[0]->dtype, {}};
  for (int label : equation.output)
    result.dims.push_back(lengths.at(label));
  return std::vector{std::move(result)};
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  std::vector<int64_t> ranks;
  std::vector<std::vector<int64_t>> dims;
  for (const Tensor *input : inputs) {
    ranks.push_back(input->type().rank());
    dims.push_back(input->type().dims);
  }
  PLATEN_ASSIGN_OR_RETURN(const Equation equation, equationOf(ranks, attributes));
  using Lengths = std::map<int, int64_t>;
  PLATEN_ASSIGN_OR_RETURN(const Lengths lengths, lengthsOf(equation, dims, mayEqual));
  // All labels as one walk: the output's axes outside, the summed ones inside.
  Labels order = equation.output;
  order.insert(order.end(), equation.summed.begin(), equation.summed.end());
  std::vector<int64_t> extents;
  for (int label : order)
    extents.push_back(lengths.at(label));
  std::vector<std::vector<int64_t>> strides;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const std::vector<int64_t> own = stridesOf(dims[i]);
    std::vector<int64_t> &all = strides.emplace_back(order.size(), 0);
    for (size_t axis = 0; axis < own.size(); ++axis)
      for (size_t j = 0; j < order.size(); ++j)
        if (order[j] == equation.inputs[i][axis] && dims[i][axis] != 1)
          all[j] += own[axis]; // a letter twice: the diagonal
  }
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(TensorType{
      inputs[0]->dtype(),
      {extents.begin(), extents.begin() + static_cast<std::ptrdiff_t>(equation.output.size())}});
  const int64_t summed = productOf(std::span(extents).subspan(equation.output.size()));
  StridedWalk walk(extents, std::move(strides));
  for (int64_t i = 0; i < y.elementCount(); ++i) {
    double sum = 0;
    for (int64_t j = 0; j < summed; ++j, walk.next()) {
      double product = 1;
      for (size_t k = 0; k < inputs.size(); ++k)
        product *= inputs[k]->get(walk.index(k));
      sum += product;
    }
    y.set(i, sum);
  }
  return results;
}

base::Status lower(loops::Lowering &op) {
  std::vector<int64_t> ranks;
  std::vector<std::vector<base::Size>> dims;
  for (size_t i = 0; i < op.operandCount(); ++i) {
    ranks.push_back(static_cast<int64_t>(op.operand(i).rank()));
    dims.push_back(op.operand(i).dims);
  }
  PLATEN_ASSIGN_OR_RETURN(const Equation equation, equationOf(ranks, op.attributes()));
  using Lengths = std::map<int, base::Size>;
  PLATEN_ASSIGN_OR_RETURN(
      const Lengths lengths,
      lengthsOf(equation, dims, [](const base::Size &, const base::Size &) { return true; }));
  std::vector<base::Size> folded;
  for (int label : equation.summed)
    folded.push_back(lengths.at(label));
  const loops::TensorRef y = op.result(0);
  return op.compute(y, [&](loops::Stage &s, loops::Coordinates at) {
    return s.sumOver(folded, y.kind(), [&](loops::Coordinates inner) {
      std::map<int, loops::Value> where;
      for (size_t i = 0; i < equation.output.size(); ++i)
        where[equation.output[i]] = at[i];
      for (size_t i = 0; i < equation.summed.size(); ++i)
        where[equation.summed[i]] = inner[i];
      loops::Value product = loops::kNoValue;
      for (size_t i = 0; i < op.operandCount(); ++i) {
        std::vector<loops::Value> own;
        for (size_t axis = 0; axis < dims[i].size(); ++axis)
          own.push_back(dims[i][axis] == base::Size(1) ? s.integer(0)
                                                       : where.at(equation.inputs[i][axis]));
        const loops::Value element = s.load(op.operand(i), own);
        product = product == loops::kNoValue ? element : s.mul(product, element);
      }
      return product;
    });
  });
}

} // namespace

const OpSpec kEinsum{
    .name = "einsum",
    .operands = {{.name = "inputs", .variadic = true}},
    .attributes = {{"equation", std::string(), true}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "Einsum", 12}},
    .loops = lower,
};

} // namespace platen::ops
