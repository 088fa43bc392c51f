// The scan knows which fields of onnx-ml.proto lead to tensors (childOf), and nothing else of the
// schema.
#include "compiler/import/onnx_file.h"

#include "google/protobuf/io/coded_stream.h"

#include <cstring>
#include <optional>
#include <string>

namespace platen::compiler {
namespace {

using base::Result;
using base::Status;

constexpr int kMaxDepth = 64;

enum class Message { kModel, kGraph, kNode, kAttribute, kTensor, kSparse, kFunction, kTraining };

/// The message type of field `field` of `parent`, if tensors may lie below it.
std::optional<Message> childOf(Message parent, uint32_t field) {
  struct Edge {
    Message parent;
    int field;
    Message child;
  };
  using enum Message;
  static constexpr Edge kEdges[] = {
      {kModel, onnx::ModelProto::kGraphFieldNumber, kGraph},
      {kModel, onnx::ModelProto::kTrainingInfoFieldNumber, kTraining},
      {kModel, onnx::ModelProto::kFunctionsFieldNumber, kFunction},
      {kGraph, onnx::GraphProto::kNodeFieldNumber, kNode},
      {kGraph, onnx::GraphProto::kInitializerFieldNumber, kTensor},
      {kGraph, onnx::GraphProto::kSparseInitializerFieldNumber, kSparse},
      {kNode, onnx::NodeProto::kAttributeFieldNumber, kAttribute},
      {kAttribute, onnx::AttributeProto::kTFieldNumber, kTensor},
      {kAttribute, onnx::AttributeProto::kTensorsFieldNumber, kTensor},
      {kAttribute, onnx::AttributeProto::kGFieldNumber, kGraph},
      {kAttribute, onnx::AttributeProto::kGraphsFieldNumber, kGraph},
      {kAttribute, onnx::AttributeProto::kSparseTensorFieldNumber, kSparse},
      {kAttribute, onnx::AttributeProto::kSparseTensorsFieldNumber, kSparse},
      {kSparse, onnx::SparseTensorProto::kValuesFieldNumber, kTensor},
      {kSparse, onnx::SparseTensorProto::kIndicesFieldNumber, kTensor},
      {kFunction, onnx::FunctionProto::kNodeFieldNumber, kNode},
      {kFunction, onnx::FunctionProto::kAttributeProtoFieldNumber, kAttribute},
      {kTraining, onnx::TrainingInfoProto::kInitializationFieldNumber, kGraph},
      {kTraining, onnx::TrainingInfoProto::kAlgorithmFieldNumber, kGraph},
  };
  for (const Edge &edge : kEdges)
    if (edge.parent == parent && static_cast<uint32_t>(edge.field) == field)
      return edge.child;
  return std::nullopt;
}

void appendVarint(std::string &out, uint64_t value) {
  for (; value >= 0x80; value >>= 7)
    out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

class Scanner {
public:
  explicit Scanner(std::span<const std::byte> bytes) : bytes_(bytes) {}

  /// Copies the message in [position_, end) to `out`, less the raw data.
  Status copy(Message message, uint64_t end, int depth, std::string &out) {
    if (depth > kMaxDepth)
      return base::unsupported("graphs are nested more than " + std::to_string(kMaxDepth) +
                               " deep");
    while (position_ < end)
      PLATEN_RETURN_IF_ERROR(copyField(message, end, depth, out));
    return Status::ok();
  }

private:
  Status malformed() const {
    return base::corrupt("is no ONNX model: the protobuf encoding is broken at byte " +
                         std::to_string(position_));
  }

  Result<uint64_t> varint(uint64_t end) {
    uint64_t value = 0;
    for (int shift = 0; shift < 70 && position_ < end; shift += 7) {
      auto byte = std::to_integer<uint64_t>(bytes_[position_++]);
      value |= shift < 64 ? (byte & 0x7f) << shift : 0;
      if (byte < 0x80)
        return value;
    }
    return malformed();
  }

  Status copyField(Message message, uint64_t end, int depth, std::string &out) {
    uint64_t begin = position_;
    PLATEN_ASSIGN_OR_RETURN(uint64_t tag, varint(end));
    if (tag > 0xffffffffU || tag >> 3 == 0)
      return malformed();
    uint64_t bytes = 0;
    switch (tag & 7) {
    case 0: {
      PLATEN_RETURN_IF_ERROR(varint(end).status());
      break;
    }
    case 1:
      bytes = 8;
      break;
    case 5:
      bytes = 4;
      break;
    case 2:
      return copyDelimited(message, static_cast<uint32_t>(tag), end, depth, out);
    default: // groups are not part of onnx-ml.proto
      return malformed();
    }
    if (bytes > end - position_)
      return malformed();
    position_ += bytes;
    appendBytes(out, begin, position_);
    return Status::ok();
  }

  Status copyDelimited(Message message, uint32_t tag, uint64_t end, int depth, std::string &out) {
    PLATEN_ASSIGN_OR_RETURN(uint64_t bytes, varint(end));
    if (bytes > end - position_)
      return malformed();
    uint32_t field = tag >> 3;
    appendVarint(out, tag);
    if (auto child = childOf(message, field)) {
      std::string inner;
      PLATEN_RETURN_IF_ERROR(copy(*child, position_ + bytes, depth + 1, inner));
      appendVarint(out, inner.size());
      out += inner;
      return Status::ok();
    }
    if (message == Message::kTensor && field == onnx::TensorProto::kRawDataFieldNumber) {
      RawRange range{position_, bytes};
      appendVarint(out, sizeof(range));
      out.append(reinterpret_cast<const char *>(&range), sizeof(range));
    } else {
      appendVarint(out, bytes);
      appendBytes(out, position_, position_ + bytes);
    }
    position_ += bytes;
    return Status::ok();
  }

  void appendBytes(std::string &out, uint64_t begin, uint64_t end) const {
    out.append(reinterpret_cast<const char *>(bytes_.data()) + begin, end - begin);
  }

  std::span<const std::byte> bytes_;
  uint64_t position_ = 0;
};

} // namespace

Result<std::unique_ptr<onnx::ModelProto>> parseOnnx(std::span<const std::byte> bytes) {
  if (bytes.size() > kMaxOnnxBytes)
    return base::unsupported(
        "has " + std::to_string(bytes.size()) +
        " bytes, but protobuf ends at 2 GiB; save the weights as external data "
        "(onnx.save_model(model, path, save_as_external_data=True))");
  if (bytes.empty())
    return base::corrupt("is no ONNX model: the file is empty");
  std::string slim;
  PLATEN_RETURN_IF_ERROR(Scanner(bytes).copy(Message::kModel, bytes.size(), 0, slim));
  if (slim.size() > kMaxOnnxBytes)
    return base::unsupported("its graph alone has more than 2 GiB");
  google::protobuf::io::CodedInputStream stream(reinterpret_cast<const uint8_t *>(slim.data()),
                                                static_cast<int>(slim.size()));
  stream.SetTotalBytesLimit(static_cast<int>(kMaxOnnxBytes));
  stream.SetRecursionLimit(2 * kMaxDepth);
  auto model = std::make_unique<onnx::ModelProto>();
  if (!model->ParseFromCodedStream(&stream) || !stream.ConsumedEntireMessage())
    return base::corrupt("is no ONNX model: protobuf cannot parse it");
  return model;
}

RawRange rawRange(const onnx::TensorProto &tensor) {
  RawRange range;
  std::memcpy(&range, tensor.raw_data().data(), sizeof(range));
  return range;
}

} // namespace platen::compiler
