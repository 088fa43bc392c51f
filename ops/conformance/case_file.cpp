// See case_file.h. JSON errors are caught here: no exception crosses a room.
#include "ops/conformance/case_file.h"

#include <nlohmann/json.hpp>

#include <cmath>
#include <fstream>

namespace platen::ops {

using base::corrupt;
using base::Result;
using nlohmann::json;

namespace {

Result<DType> dtypeOf(const std::string &name) {
  for (int code = static_cast<int>(DType::kF32); code <= static_cast<int>(DType::kBool); ++code)
    if (base::dtypeName(static_cast<DType>(code)) == name)
      return static_cast<DType>(code);
  return corrupt("'" + name + "' is no dtype");
}

double numberOf(const json &value) {
  if (!value.is_string())
    return value.get<double>();
  const auto &text = value.get_ref<const std::string &>();
  if (text == "nan")
    return std::nan("");
  return text == "inf" ? HUGE_VAL : -HUGE_VAL;
}

void readHex(const std::string &text, std::span<std::byte> bytes) {
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<std::byte>(std::stoi(text.substr(2 * i, 2), nullptr, 16));
}

Result<Attribute> attributeFromJson(const json &value, const Attribute &example) {
  if (std::holds_alternative<int64_t>(example))
    return Attribute(value.get<int64_t>());
  if (std::holds_alternative<double>(example))
    return Attribute(value.get<double>());
  if (std::holds_alternative<std::string>(example))
    return Attribute(value.get<std::string>());
  if (std::holds_alternative<std::vector<int64_t>>(example))
    return Attribute(value.get<std::vector<int64_t>>());
  if (std::holds_alternative<std::vector<double>>(example))
    return Attribute(value.get<std::vector<double>>());
  PLATEN_ASSIGN_OR_RETURN(Tensor tensor, tensorFromJson(value));
  return Attribute(std::move(tensor));
}

Result<Case> caseFromJson(const json &entry, const OpSpec &op) {
  Case result;
  result.name = entry.at("name").get<std::string>();
  result.error = entry.value("error", "");
  result.ulp = entry.value("ulp", 0.0);
  result.atol = entry.value("atol", 0.0);
  result.loopsAtol = entry.value("loops_atol", 0.0);
  json attributes = entry.value("attributes", json::object());
  for (const auto &[key, value] : attributes.items())
    for (const AttributeSpec &spec : op.attributes)
      if (spec.name == key) {
        PLATEN_ASSIGN_OR_RETURN(Attribute attribute, attributeFromJson(value, spec.example));
        result.attributes.emplace(key, std::move(attribute));
      }
  for (const json &input : entry.at("inputs")) {
    result.inputs.emplace_back();
    if (input.is_null())
      continue;
    PLATEN_ASSIGN_OR_RETURN(Tensor tensor, tensorFromJson(input));
    result.inputs.back() = std::move(tensor);
  }
  for (const json &output : entry.value("outputs", json::array())) {
    PLATEN_ASSIGN_OR_RETURN(Tensor tensor, tensorFromJson(output));
    result.outputs.push_back(std::move(tensor));
  }
  return result;
}

/// Distance of neighbouring values of `dtype` around `value`.
double ulpOf(DType dtype, double value) {
  int digits = dtype == DType::kF64   ? 53
               : dtype == DType::kF32 ? 24
               : dtype == DType::kF16 ? 11
                                      : 8;
  int least = dtype == DType::kF64 ? -1022 : dtype == DType::kF16 ? -14 : -126;
  int exponent = value == 0 ? least : std::max(std::ilogb(value), least);
  return std::ldexp(1.0, exponent - digits + 1);
}

} // namespace

std::vector<const Tensor *> Case::operands() const {
  std::vector<const Tensor *> pointers;
  for (const std::optional<Tensor> &input : inputs)
    pointers.push_back(input ? &*input : nullptr);
  return pointers;
}

Result<Tensor> tensorFromJson(const json &entry) {
  PLATEN_ASSIGN_OR_RETURN(DType dtype, dtypeOf(entry.at("dtype").get<std::string>()));
  Tensor tensor(TensorType{dtype, entry.at("dims").get<std::vector<int64_t>>()});
  if (entry.contains("hex")) {
    readHex(entry.at("hex").get<std::string>(), tensor.bytes());
    return tensor;
  }
  const json &values = entry.at("values");
  if (static_cast<int64_t>(values.size()) != tensor.elementCount())
    return corrupt(std::to_string(values.size()) + " values for " + tensor.type().toString());
  for (size_t i = 0; i < values.size(); ++i) {
    auto index = static_cast<int64_t>(i);
    if (base::isFloat(dtype))
      tensor.set(index, numberOf(values[i]));
    else
      tensor.setInt(index, values[i].get<int64_t>());
  }
  return tensor;
}

Result<std::vector<Case>> readCases(const std::filesystem::path &sourceDir, const OpSpec &op) {
  std::filesystem::path path = sourceDir / "ops" / op.name / "cases.json";
  std::ifstream file(path);
  if (!file)
    return base::notFound("there is no such file", path.string());
  try {
    std::vector<Case> cases;
    for (const json &entry : json::parse(file)) {
      auto parsed = caseFromJson(entry, op);
      if (!parsed)
        return parsed.status().at(path.string());
      cases.push_back(std::move(*parsed));
    }
    return cases;
  } catch (const json::exception &exception) {
    return corrupt(exception.what(), path.string());
  }
}

std::string difference(const Tensor &actual, const Tensor &expected, double ulp, double atol,
                       double rtol) {
  if (actual.type() != expected.type())
    return "is " + actual.type().toString() + ", expected " + expected.type().toString();
  for (int64_t i = 0; i < expected.elementCount(); ++i) {
    std::string at = "element " + std::to_string(i) + " of " + expected.type().toString() + " is ";
    if (!base::isFloat(expected.dtype())) {
      int64_t a = actual.getInt(i), e = expected.getInt(i);
      if (a != e && !(std::abs(static_cast<double>(a) - static_cast<double>(e)) <= atol))
        return at + std::to_string(a) + ", expected " + std::to_string(e);
      continue;
    }
    double a = actual.get(i), e = expected.get(i);
    if (a == e || (std::isnan(a) && std::isnan(e)))
      continue;
    double allowed =
        std::isfinite(e) ? ulp * ulpOf(expected.dtype(), e) + atol + rtol * std::abs(e) : 0;
    if (!(std::abs(a - e) <= allowed))
      return at + std::to_string(a) + ", expected " + std::to_string(e) + " (off by " +
             std::to_string(std::abs(a - e) / ulpOf(expected.dtype(), e)) + " ulp)";
  }
  return {};
}

} // namespace platen::ops
