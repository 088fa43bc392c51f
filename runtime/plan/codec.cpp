// Field-by-field copies between the structs of plan.h and the generated messages: the only file
// that sees protobuf.
#include "runtime/plan/codec.h"

#include <algorithm>
#include <limits>

#include "manifest.pb.h"

namespace platen::plan {
namespace {

constexpr int kMaxTargets = 64;

/// A class only so that the functions see each other whatever their order.
struct Codec {
  template <typename To, typename From>
  static void encodeList(const std::vector<From> &from, To *to) {
    for (const From &item : from)
      encode(item, to->Add());
  }
  template <typename To, typename From>
  static void decodeList(const From &from, std::vector<To> &to) {
    to.reserve(static_cast<size_t>(from.size()));
    for (const auto &item : from)
      to.push_back(decode(item));
  }

  static void encode(const Limits &from, proto::Limits *to) {
    to->set_context_tokens(from.context_tokens);
    to->set_step_tokens(from.step_tokens);
    to->set_step_rows(from.step_rows);
    to->set_step_sequences(from.step_sequences);
    to->set_page_tokens(from.page_tokens);
  }
  static Limits decode(const proto::Limits &from) {
    return {.context_tokens = from.context_tokens(),
            .step_tokens = from.step_tokens(),
            .step_rows = from.step_rows(),
            .step_sequences = from.step_sequences(),
            .page_tokens = from.page_tokens()};
  }

  static void encode(const ModelInfo &from, proto::ModelInfo *to) {
    to->set_vocabulary(from.vocabulary);
    to->set_hidden(from.hidden);
    to->set_layers(from.layers);
    to->mutable_eos_tokens()->Assign(from.eos_tokens.begin(), from.eos_tokens.end());
    to->set_bos_token(from.bos_token);
    to->set_add_bos(from.add_bos);
    to->set_weight_format(from.weight_format);
  }
  static ModelInfo decode(const proto::ModelInfo &from) {
    return {.vocabulary = from.vocabulary(),
            .hidden = from.hidden(),
            .layers = from.layers(),
            .eos_tokens = {from.eos_tokens().begin(), from.eos_tokens().end()},
            .bos_token = from.bos_token(),
            .add_bos = from.add_bos(),
            .weight_format = from.weight_format()};
  }

  static void encode(const Section &from, proto::Section *to) {
    to->set_kind(static_cast<proto::SectionKind>(from.kind));
    to->set_name(from.name);
    to->set_offset(from.offset);
    to->set_bytes(from.bytes);
    to->set_alignment(from.alignment);
    to->set_xxh3(from.xxh3);
  }
  // Enums of the wire are 32 bits wide: what is out of range becomes 255, which validate() refuses.
  template <typename To, typename From> static To narrow(From value) {
    auto number = static_cast<int64_t>(value);
    return static_cast<To>(number < 0 || number > 255 ? 255 : number);
  }
  static Section decode(const proto::Section &from) {
    return {.kind = narrow<SectionKind>(from.kind()),
            .name = from.name(),
            .offset = from.offset(),
            .bytes = from.bytes(),
            .alignment = from.alignment(),
            .xxh3 = from.xxh3()};
  }

  static void encode(const Weight &from, proto::Weight *to) {
    to->set_name(from.name);
    to->set_offset(from.offset);
    to->set_bytes(from.bytes);
    to->set_packing(from.packing);
    to->mutable_shape()->Assign(from.shape.begin(), from.shape.end());
  }
  static Weight decode(const proto::Weight &from) {
    return {.name = from.name(),
            .offset = from.offset(),
            .bytes = from.bytes(),
            .packing = from.packing(),
            .shape = {from.shape().begin(), from.shape().end()}};
  }

  static void encode(const base::Size &from, proto::Size *to) {
    for (const base::Size::Term &term : from.terms()) {
      proto::SizeTerm *added = to->add_terms();
      added->mutable_symbols()->Assign(term.symbols.begin(), term.symbols.end());
      added->set_coefficient(term.coefficient);
    }
  }
  // Terms that do not add up within 64 bits become the largest number, which validate() refuses.
  static base::Size decode(const proto::Size &from) {
    std::vector<base::Size::Term> terms;
    for (const proto::SizeTerm &term : from.terms())
      terms.push_back({{term.symbols().begin(), term.symbols().end()}, term.coefficient()});
    auto size = base::Size::of(std::move(terms));
    return size.isOk() ? std::move(*size) : base::Size(std::numeric_limits<int64_t>::max());
  }

  static void encode(const Symbol &from, proto::Symbol *to) {
    to->set_name(from.name);
    to->set_least(from.least);
    to->set_greatest(from.greatest);
  }
  static Symbol decode(const proto::Symbol &from) {
    return {.name = from.name(), .least = from.least(), .greatest = from.greatest()};
  }

  static void encode(const GraphTensor &from, proto::GraphTensor *to) {
    to->set_name(from.name);
    to->set_dtype(static_cast<uint32_t>(from.dtype));
    encodeList(from.dims, to->mutable_dims());
    to->set_buffer(from.buffer);
  }
  static GraphTensor decode(const proto::GraphTensor &from) {
    GraphTensor to{.name = from.name(),
                   .dtype = narrow<base::DType>(from.dtype()),
                   .dims = {},
                   .buffer = from.buffer()};
    decodeList(from.dims(), to.dims);
    return to;
  }

  static void encode(const GraphSignature &from, proto::GraphSignature *to) {
    encodeList(from.symbols, to->mutable_symbols());
    encodeList(from.inputs, to->mutable_inputs());
    encodeList(from.outputs, to->mutable_outputs());
  }
  static GraphSignature decode(const proto::GraphSignature &from) {
    GraphSignature to;
    decodeList(from.symbols(), to.symbols);
    decodeList(from.inputs(), to.inputs);
    decodeList(from.outputs(), to.outputs);
    return to;
  }

  static void encode(const Buffer &from, proto::Buffer *to) {
    to->set_name(from.name);
    to->set_extent(static_cast<proto::Extent>(from.extent));
    to->set_row_bytes(from.row_bytes);
    to->set_arena_offset(from.arena_offset);
    if (from.bytes != base::Size())
      encode(from.bytes, to->mutable_bytes());
    to->set_slot(from.slot);
  }
  static Buffer decode(const proto::Buffer &from) {
    return {.name = from.name(),
            .extent = narrow<Extent>(from.extent()),
            .row_bytes = from.row_bytes(),
            .arena_offset = from.arena_offset(),
            .bytes = decode(from.bytes()),
            .slot = from.slot()};
  }

  static void encode(const Cache &from, proto::Cache *to) {
    to->set_kv_heads(from.kv_heads);
    to->set_head_dim(from.head_dim);
    to->set_dtype(static_cast<uint32_t>(from.dtype));
    to->set_window(from.window);
  }
  static Cache decode(const proto::Cache &from) {
    return {.kv_heads = from.kv_heads(),
            .head_dim = from.head_dim(),
            .dtype = narrow<base::DType>(from.dtype()),
            .window = from.window()};
  }

  static void encode(const Phase &from, proto::Phase *to) {
    to->set_entry(from.entry);
    encode(from.grid_x, to->mutable_grid_x());
    encode(from.grid_y, to->mutable_grid_y());
    encode(from.grid_z, to->mutable_grid_z());
    to->set_threads(from.threads);
    to->set_cluster_x(from.cluster_x);
    to->set_cluster_y(from.cluster_y);
    to->set_cluster_z(from.cluster_z);
    to->set_dynamic_shared_bytes(from.dynamic_shared_bytes);
  }
  static Phase decode(const proto::Phase &from) {
    return {.entry = from.entry(),
            .grid_x = decode(from.grid_x()),
            .grid_y = decode(from.grid_y()),
            .grid_z = decode(from.grid_z()),
            .threads = from.threads(),
            .cluster_x = from.cluster_x(),
            .cluster_y = from.cluster_y(),
            .cluster_z = from.cluster_z(),
            .dynamic_shared_bytes = from.dynamic_shared_bytes()};
  }

  static void encode(const TensorDimension &from, proto::TensorDimension *to) {
    to->set_size(from.size);
    to->set_stride_bytes(from.stride_bytes);
    to->set_box(from.box);
  }
  static TensorDimension decode(const proto::TensorDimension &from) {
    return {.size = from.size(), .stride_bytes = from.stride_bytes(), .box = from.box()};
  }

  static void encode(const TensorMap &from, proto::TensorMap *to) {
    to->set_operand(from.operand);
    to->set_offset_bytes(from.offset_bytes);
    to->set_element(static_cast<proto::TensorElement>(from.element));
    to->set_swizzle(static_cast<proto::TensorSwizzle>(from.swizzle));
    encodeList(from.dimensions, to->mutable_dimensions());
  }
  static TensorMap decode(const proto::TensorMap &from) {
    TensorMap to{.operand = from.operand(),
                 .offset_bytes = from.offset_bytes(),
                 .element = narrow<TensorElement>(from.element()),
                 .swizzle = narrow<TensorSwizzle>(from.swizzle()),
                 .dimensions = {}};
    decodeList(from.dimensions(), to.dimensions);
    return to;
  }

  static void encode(const CudaKernel &from, proto::CudaKernel *to) {
    encodeList(from.phases, to->mutable_phases());
    encodeList(from.tensor_maps, to->mutable_tensor_maps());
    to->set_operation(from.operation);
    to->set_tile(from.tile);
    to->set_family(from.family);
    to->set_is_fallback(from.is_fallback);
    to->set_predicted_ns(from.predicted_ns);
    to->set_proof(static_cast<proto::Proof>(from.proof));
    to->set_measured_ns(from.measured_ns);
  }
  static CudaKernel decode(const proto::CudaKernel &from) {
    CudaKernel to;
    decodeList(from.phases(), to.phases);
    decodeList(from.tensor_maps(), to.tensor_maps);
    to.operation = from.operation();
    to.tile = from.tile();
    to.family = from.family();
    to.is_fallback = from.is_fallback();
    to.predicted_ns = from.predicted_ns();
    to.proof = narrow<Proof>(from.proof());
    to.measured_ns = from.measured_ns();
    return to;
  }

  static void encode(const Kernel &from, proto::Kernel *to) {
    to->set_name(from.name);
    to->set_scratch_bytes(from.scratch_bytes);
    if (from.cuda)
      encode(*from.cuda, to->mutable_cuda());
  }
  static Kernel decode(const proto::Kernel &from) {
    Kernel to{.name = from.name(), .scratch_bytes = from.scratch_bytes()};
    if (from.has_cuda())
      to.cuda = decode(from.cuda());
    return to;
  }

  static void encode(const Operand &from, proto::Operand *to) {
    switch (from.kind) {
    case OperandKind::kBuffer:
      to->set_buffer(from.index);
      break;
    case OperandKind::kWeight:
      to->set_weight(from.index);
      break;
    case OperandKind::kCache:
      to->set_cache(from.index);
      break;
    }
  }
  static Operand decode(const proto::Operand &from) {
    switch (from.kind_case()) {
    case proto::Operand::kBuffer:
      return {.kind = OperandKind::kBuffer, .index = from.buffer()};
    case proto::Operand::kWeight:
      return {.kind = OperandKind::kWeight, .index = from.weight()};
    case proto::Operand::kCache:
      return {.kind = OperandKind::kCache, .index = from.cache()};
    case proto::Operand::KIND_NOT_SET:
      break;
    }
    return {.kind = static_cast<OperandKind>(0), .index = 0};
  }

  static void encode(const Units &from, proto::Units *to) {
    to->set_extent(static_cast<proto::Extent>(from.extent));
    to->set_per(from.per);
    to->set_times(from.times);
  }
  static Units decode(const proto::Units &from) {
    return {.extent = narrow<Extent>(from.extent()), .per = from.per(), .times = from.times()};
  }

  static void encode(const Variant &from, proto::Variant *to) {
    to->set_max_extent(from.max_extent);
    to->set_kernel(from.kernel);
    encode(from.units, to->mutable_units());
    to->mutable_alternatives()->Assign(from.alternatives.begin(), from.alternatives.end());
  }
  static Variant decode(const proto::Variant &from) {
    return {.max_extent = from.max_extent(),
            .kernel = from.kernel(),
            .units = decode(from.units()),
            .alternatives = {from.alternatives().begin(), from.alternatives().end()}};
  }

  static void encode(const Launch &from, proto::Launch *to) {
    to->set_name(from.name);
    to->set_extent(static_cast<proto::Extent>(from.extent));
    encodeList(from.variants, to->mutable_variants());
    encodeList(from.operands, to->mutable_operands());
    if (from.points != base::Size())
      encode(from.points, to->mutable_points());
  }
  static Launch decode(const proto::Launch &from) {
    Launch to{.name = from.name(),
              .extent = narrow<Extent>(from.extent()),
              .variants = {},
              .operands = {},
              .points = decode(from.points())};
    decodeList(from.variants(), to.variants);
    decodeList(from.operands(), to.operands);
    return to;
  }

  static void encode(const DeviceProgram &from, proto::DeviceProgram *to) {
    to->set_device(from.device);
    encodeList(from.buffers, to->mutable_buffers());
    encodeList(from.caches, to->mutable_caches());
    encodeList(from.kernels, to->mutable_kernels());
    encodeList(from.launches, to->mutable_launches());
    to->set_arena_bytes(from.arena_bytes);
    to->set_logits_buffer(from.logits_buffer);
    to->set_hidden_buffer(from.hidden_buffer);
    if (from.sampler)
      to->mutable_sampler()->set_kernel(*from.sampler);
  }
  static DeviceProgram decode(const proto::DeviceProgram &from) {
    DeviceProgram to;
    to.device = from.device();
    decodeList(from.buffers(), to.buffers);
    decodeList(from.caches(), to.caches);
    decodeList(from.kernels(), to.kernels);
    decodeList(from.launches(), to.launches);
    to.arena_bytes = from.arena_bytes();
    to.logits_buffer = from.logits_buffer();
    to.hidden_buffer = from.hidden_buffer();
    if (from.has_sampler())
      to.sampler = from.sampler().kernel();
    return to;
  }

  static void encode(const CodeTarget &from, proto::CodeTarget *to) {
    to->set_name(from.name);
    to->mutable_features()->Assign(from.features.begin(), from.features.end());
    to->set_section(from.section);
    to->set_program(from.program);
    for (size_t kernel = 0; kernel < from.entry_offsets.size(); ++kernel) {
      proto::CodeEntry *entry = to->add_entries();
      entry->set_kernel(static_cast<uint32_t>(kernel));
      entry->set_offset(from.entry_offsets[kernel]);
      if (kernel < from.entry_bytes.size())
        entry->set_bytes(from.entry_bytes[kernel]);
    }
  }
  static base::Result<CodeTarget> decode(const proto::CodeTarget &from, int kernels) {
    // Counted before anything of that size is allocated; with equal counts, no duplicate means none
    // is missing.
    if (from.entries_size() != kernels)
      return base::corrupt("code for " + std::to_string(from.entries_size()) + " of " +
                               std::to_string(kernels) + " kernels",
                           "target '" + from.name() + "'");
    CodeTarget to{.name = from.name(),
                  .features = {from.features().begin(), from.features().end()},
                  .section = from.section(),
                  .entry_offsets = std::vector<uint64_t>(static_cast<size_t>(kernels)),
                  .program = from.program()};
    // Targets whose code is no images say no sizes at all.
    if (std::ranges::any_of(from.entries(), [](const auto &entry) { return entry.bytes() != 0; }))
      to.entry_bytes.resize(to.entry_offsets.size());
    std::vector<bool> seen(to.entry_offsets.size());
    for (const proto::CodeEntry &entry : from.entries()) {
      if (entry.kernel() >= seen.size() || seen[entry.kernel()])
        return base::corrupt("its entries do not name every kernel once: kernel " +
                                 std::to_string(entry.kernel()),
                             "target '" + from.name() + "'");
      seen[entry.kernel()] = true;
      to.entry_offsets[entry.kernel()] = entry.offset();
      if (!to.entry_bytes.empty())
        to.entry_bytes[entry.kernel()] = entry.bytes();
    }
    return to;
  }
};

} // namespace

std::string encodeManifest(const Manifest &from) {
  proto::Manifest to;
  to.set_producer(from.producer);
  to.set_model_name(from.model_name);
  to.set_kernel_abi_version(from.kernel_abi_version);
  Codec::encode(from.limits, to.mutable_limits());
  Codec::encode(from.model, to.mutable_model());
  Codec::encodeList(from.sections, to.mutable_sections());
  Codec::encodeList(from.weights, to.mutable_weights());
  Codec::encodeList(from.programs, to.mutable_programs());
  Codec::encodeList(from.targets, to.mutable_targets());
  to.mutable_tokenizer()->set_kind(from.tokenizer.kind);
  to.mutable_tokenizer()->set_section(from.tokenizer.section);
  to.set_cuda_abi_version(from.cuda_abi_version);
  if (from.graph)
    Codec::encode(*from.graph, to.mutable_graph());
  return to.SerializeAsString();
}

base::Result<Manifest> decodeManifest(std::span<const std::byte> bytes) {
  proto::Manifest from;
  if (!from.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return base::corrupt("it does not decode as the protobuf message Manifest", "manifest");
  Manifest to;
  to.producer = from.producer();
  to.model_name = from.model_name();
  to.kernel_abi_version = from.kernel_abi_version();
  to.cuda_abi_version = from.cuda_abi_version();
  to.limits = Codec::decode(from.limits());
  to.model = Codec::decode(from.model());
  if (from.has_graph())
    to.graph = Codec::decode(from.graph());
  Codec::decodeList(from.sections(), to.sections);
  Codec::decodeList(from.weights(), to.weights);
  Codec::decodeList(from.programs(), to.programs);
  if (from.targets_size() > kMaxTargets)
    return base::corrupt(std::to_string(from.targets_size()) + " code targets, more than 64",
                         "manifest");
  for (const proto::CodeTarget &target : from.targets()) {
    if (target.program() >= to.programs.size())
      return base::corrupt("program is " + std::to_string(target.program()) +
                               ", but there are only " + std::to_string(to.programs.size()),
                           "manifest: target '" + target.name() + "'");
    auto decoded =
        Codec::decode(target, from.programs(static_cast<int>(target.program())).kernels_size());
    if (!decoded.isOk())
      return decoded.status().at("manifest");
    to.targets.push_back(std::move(*decoded));
  }
  to.tokenizer = {.kind = from.tokenizer().kind(), .section = from.tokenizer().section()};
  return to;
}

} // namespace platen::plan
