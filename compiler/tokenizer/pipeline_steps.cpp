// One table of step types a kind of step; each entry knows the parameters that the type has.
#include "compiler/tokenizer/pipeline_steps.h"

#include <array>

#include "compiler/tokenizer/json_access.h"

namespace platen::compiler {

using base::Result;
using base::Status;
using nlohmann::json;
using plan::PipelineRecord;
using plan::PipelineStep;

namespace {

constexpr size_t kMaxReplacement = 64; // as runtime/text checks it

constexpr const char *kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

class Steps {
public:
  Steps(const std::string &name, TokenizerPipeline &pipeline) : name_(name), to_(pipeline) {}

  Status refuse(const std::string &what, const json &value) const {
    return base::unsupported(what + " " + shown(value) + " is none that platen implements", name_);
  }
  /// Offset of `text` in the strings.
  uint32_t put(const std::string &text) {
    auto offset = static_cast<uint32_t>(to_.strings.size());
    to_.strings += text;
    return offset;
  }
  static uint32_t size(const std::string &text) { return static_cast<uint32_t>(text.size()); }
  Result<uint32_t> pattern(const std::string &regex) {
    auto compiled = compilePattern(regex);
    if (!compiled.isOk())
      return compiled.status().at(name_);
    to_.patterns.push_back(std::move(*compiled));
    return static_cast<uint32_t>(to_.patterns.size() - 1);
  }
  uint32_t mapping(Mapping which) {
    for (uint32_t i = 0; i < to_.mappings.size(); ++i)
      if (to_.mappings[i] == which)
        return i;
    to_.mappings.push_back(which);
    return static_cast<uint32_t>(to_.mappings.size() - 1);
  }
  uint32_t property(plan::PipelineProperty bit, NamedSet set) {
    return property(bit, namedSet(set));
  }
  uint32_t property(plan::PipelineProperty bit, CodeSet set) {
    for (const PropertySet &known : to_.properties)
      if (known.bits == bit)
        return bit;
    to_.properties.push_back({bit, std::move(set)});
    return bit;
  }

  Status normalizer(const json &step);
  Status preTokenizer(const json &step);
  Status decoder(const json &step, bool joined);

private:
  Status replace(const json &step);
  Status precompiled(const json &step);
  void decompose(Mapping which, bool compose) {
    to_.composes |= compose;
    to_.normalizers.push_back({PipelineStep::kDecompose, mapping(which), compose ? 1U : 0U, 0});
  }
  void bert(const json &step);
  Status split(const json &step);
  Status metaspace(const json &step);
  Result<uint32_t> behavior(const json &step, const char *otherwise) const;
  void add(PipelineStep step, uint32_t a = 0, uint32_t b = 0, uint32_t c = 0) {
    to_.preTokenizers.push_back({step, a, b, c});
  }

  const std::string &name_;
  TokenizerPipeline &to_;
};

/// Replaces text or matches.
Status Steps::replace(const json &step) {
  const json &what = child(step, "pattern");
  std::string from = text(child(what, "String")), regex = text(child(what, "Regex"));
  std::string content = text(child(step, "content"));
  if (from.empty() == regex.empty() || content.size() > kMaxReplacement)
    return refuse("normalizer", step);
  if (!from.empty()) {
    uint32_t offset = put(from);
    put(content);
    to_.normalizers.push_back({PipelineStep::kReplaceText, offset, size(from), size(content)});
    return Status::ok();
  }
  PLATEN_ASSIGN_OR_RETURN(uint32_t index, pattern(regex));
  to_.normalizers.push_back({PipelineStep::kReplaceMatch, index, put(content), size(content)});
  return Status::ok();
}

/// The map is stored in base 64.
Status Steps::precompiled(const json &step) {
  std::string encoded = text(child(step, "precompiled_charsmap")), bytes;
  uint32_t bits = 0, count = 0;
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (char c : encoded) {
    size_t digit = kDigits.find(c);
    if (c == '=')
      break;
    if (digit == std::string_view::npos)
      return base::corrupt("has a precompiled_charsmap that is no base 64", name_);
    bits = bits << 6 | static_cast<uint32_t>(digit);
    count += 6;
    if (count >= 8)
      bytes += static_cast<char>(bits >> (count -= 8) & 255);
  }
  if (!to_.charsMap.empty() && to_.charsMap != bytes)
    return refuse("a second normalizer", step);
  to_.charsMap = bytes;
  if (bytes.empty())
    return Status::ok(); // the identity
  to_.clusters = true;
  to_.normalizers.push_back({PipelineStep::kCharsMap, 0, 0, 0});
  return Status::ok();
}

void Steps::bert(const json &step) {
  auto put = [this](PipelineStep what, uint32_t bits) {
    to_.normalizers.push_back({what, bits, 0, 0});
  };
  bool lower = flag(child(step, "lowercase"), true);
  if (flag(child(step, "clean_text"), true)) {
    put(PipelineStep::kDropProperty, property(plan::kPropertyBertRemoved, NamedSet::kBertRemoved));
    put(PipelineStep::kSpaceProperty, property(plan::kPropertyBertSpace, NamedSet::kBertSpace));
  }
  if (flag(child(step, "handle_chinese_chars"), true))
    put(PipelineStep::kSpaceAround, property(plan::kPropertyChinese, NamedSet::kBertChinese));
  if (flag(child(step, "strip_accents"), lower)) {
    decompose(Mapping::kCanonical, false);
    put(PipelineStep::kDropProperty, property(plan::kPropertyBertAccent, NamedSet::kBertAccent));
  }
  if (lower)
    put(PipelineStep::kMapCharacters, mapping(Mapping::kLower));
}

Status Steps::normalizer(const json &step) {
  std::string type = text(child(step, "type"));
  auto put = [this](PipelineStep what, uint32_t a = 0, uint32_t b = 0) {
    to_.normalizers.push_back({what, a, b, 0});
    return Status::ok();
  };
  if (type == "NFC" || type == "NFD" || type == "NFKC" || type == "NFKD") {
    decompose(type[2] == 'K' ? Mapping::kCompatible : Mapping::kCanonical, type.back() == 'C');
    return Status::ok();
  }
  if (type == "Lowercase")
    return put(PipelineStep::kMapCharacters, mapping(Mapping::kLower));
  if (type == "StripAccents")
    return put(PipelineStep::kDropProperty, property(plan::kPropertyAccent, NamedSet::kAccent));
  if (type == "Strip") {
    property(plan::kPropertySpace, NamedSet::kWhitespace);
    return put(PipelineStep::kStrip, flag(child(step, "strip_left")),
               flag(child(step, "strip_right")));
  }
  if (type == "Nmt") {
    PLATEN_RETURN_IF_ERROR(put(PipelineStep::kDropProperty,
                               property(plan::kPropertyNmtRemoved, NamedSet::kNmtRemoved)));
    return put(PipelineStep::kSpaceProperty,
               property(plan::kPropertyNmtSpace, NamedSet::kNmtSpace));
  }
  if (type == "Prepend" && child(step, "prepend").is_string()) {
    std::string what = text(child(step, "prepend"));
    return what.size() > kMaxReplacement ? refuse("normalizer", step)
                                         : put(PipelineStep::kPrepend, this->put(what), size(what));
  }
  if (type == "ByteLevel")
    return put(PipelineStep::kByteCharacters);
  if (type == "Replace")
    return replace(step);
  if (type == "Precompiled")
    return precompiled(step);
  if (type != "BertNormalizer")
    return refuse("normalizer", step);
  bert(step);
  return Status::ok();
}

Result<uint32_t> Steps::behavior(const json &step, const char *otherwise) const {
  const json &given = child(step, "behavior");
  std::string name = given.is_null() ? otherwise : text(given);
  constexpr std::array<const char *, 5> kNames = {"Removed", "Isolated", "MergedWithPrevious",
                                                  "MergedWithNext", "Contiguous"};
  for (uint32_t i = 0; i < kNames.size(); ++i)
    if (name == kNames[i])
      return i;
  return refuse("the behavior of pre_tokenizer", step);
}

Status Steps::split(const json &step) {
  const json &what = child(step, "pattern");
  std::string literal = text(child(what, "String")), regex = text(child(what, "Regex"));
  PLATEN_ASSIGN_OR_RETURN(uint32_t how, behavior(step, ""));
  how |= flag(child(step, "invert")) ? plan::kSplitInverted : 0U;
  if (literal.empty() == regex.empty() || literal.size() > kMaxReplacement)
    return refuse("pre_tokenizer", step);
  if (!literal.empty()) {
    add(PipelineStep::kSplitText, put(literal), size(literal), how);
    return Status::ok();
  }
  PLATEN_ASSIGN_OR_RETURN(uint32_t index, pattern(regex));
  add(PipelineStep::kSplitMatch, index, how);
  return Status::ok();
}

Status Steps::metaspace(const json &step) {
  std::string mark = text(child(step, "replacement"));
  std::string scheme = text(child(step, "prepend_scheme"));
  uint32_t how = scheme == "never"   ? plan::kPrefixNever
                 : scheme == "first" ? plan::kPrefixFirst
                                     : plan::kPrefixAlways;
  bool known = scheme.empty() || scheme == "never" || scheme == "first" || scheme == "always";
  if (child(step, "add_prefix_space") == false)
    how = plan::kPrefixNever;
  if (mark.empty() || mark.size() > 4 || !known)
    return refuse("pre_tokenizer", step);
  how |= flag(child(step, "split"), true) ? plan::kMetaspaceSplits : 0U;
  add(PipelineStep::kMetaspace, put(mark), size(mark), how);
  return Status::ok();
}

Status Steps::preTokenizer(const json &step) {
  std::string type = text(child(step, "type"));
  if (type == "Split")
    return split(step);
  if (type == "Metaspace")
    return metaspace(step);
  if (type == "ByteLevel") {
    if (flag(child(step, "add_prefix_space"), true))
      add(PipelineStep::kPrefixSpace);
    if (flag(child(step, "use_regex"), true)) {
      PLATEN_ASSIGN_OR_RETURN(uint32_t index, pattern(kGpt2Pattern));
      add(PipelineStep::kSplitMatch, index, plan::kSplitIsolated);
    }
    add(PipelineStep::kByteCharacters);
    return Status::ok();
  }
  auto space = [this] { return property(plan::kPropertySpace, NamedSet::kWhitespace); };
  auto punctuation = [this] {
    return property(plan::kPropertyPunctuation, NamedSet::kPunctuation);
  };
  if (type == "BertPreTokenizer") {
    add(PipelineStep::kSplitProperty, space(), plan::kSplitRemoved);
    add(PipelineStep::kSplitProperty, punctuation(), plan::kSplitIsolated);
    return Status::ok();
  }
  if (type == "WhitespaceSplit") {
    add(PipelineStep::kSplitProperty, space(), plan::kSplitRemoved);
    return Status::ok();
  }
  if (type == "Whitespace") {
    space();
    property(plan::kPropertyWord, NamedSet::kWord);
    add(PipelineStep::kSplitWords);
    return Status::ok();
  }
  if (type == "Punctuation") {
    PLATEN_ASSIGN_OR_RETURN(uint32_t how, behavior(step, "Isolated"));
    add(PipelineStep::kSplitProperty, punctuation(), how);
    return Status::ok();
  }
  if (type == "Digits") {
    bool each = flag(child(step, "individual_digits"));
    add(PipelineStep::kSplitProperty, property(plan::kPropertyNumeric, NamedSet::kNumeric),
        each ? plan::kSplitIsolated : plan::kSplitContiguous);
    return Status::ok();
  }
  std::string delimiter = text(child(step, "delimiter"));
  if (type != "CharDelimiterSplit" || delimiter.empty() || delimiter.size() > 4)
    return refuse("pre_tokenizer", step);
  add(PipelineStep::kSplitText, put(delimiter), size(delimiter), plan::kSplitRemoved);
  return Status::ok();
}

/// `joined`: an earlier step has made one text of all tokens.
Status Steps::decoder(const json &step, bool joined) {
  std::string type = text(child(step, "type"));
  auto put = [this](PipelineStep what, uint32_t a = 0, uint32_t b = 0, uint32_t c = 0) {
    to_.decoders.push_back({what, a, b, c});
    return Status::ok();
  };
  std::string content = text(child(step, "content"));
  bool mayFollowBytes = true; // steps that see tokens one by one must come before what splits them
  for (const PipelineRecord &earlier : to_.decoders)
    mayFollowBytes &= earlier.step != PipelineStep::kDecodeByteFallback &&
                      earlier.step != PipelineStep::kDecodeByteCharacters;
  if (type == "Fuse")
    return put(PipelineStep::kDecodeFuse);
  if (type == "Strip" && content.size() == 1 && joined && child(step, "stop") == 0 &&
      child(step, "start").is_number_unsigned() && child(step, "start") <= 1000)
    return put(PipelineStep::kDecodeStrip, this->put(content), size(content),
               child(step, "start").get<uint32_t>());
  if (joined || !mayFollowBytes)
    return refuse("after what joins tokens, the decoder", step);
  if (type == "ByteLevel")
    return put(PipelineStep::kDecodeByteCharacters);
  if (type == "ByteFallback")
    return put(PipelineStep::kDecodeByteFallback);
  if (type == "Replace") {
    std::string from = text(child(child(step, "pattern"), "String"));
    if (from.empty() || content.size() > kMaxReplacement)
      return refuse("decoder", step);
    uint32_t offset = this->put(from);
    this->put(content);
    return put(PipelineStep::kDecodeReplace, offset, size(from), size(content));
  }
  if (type == "Metaspace") {
    std::string mark = text(child(step, "replacement"));
    bool keeps =
        child(step, "prepend_scheme") == "never" || child(step, "add_prefix_space") == false;
    return mark.empty() || mark.size() > 4
               ? refuse("decoder", step)
               : put(PipelineStep::kDecodeMetaspace, this->put(mark), size(mark), keeps ? 0 : 1);
  }
  if (type == "WordPiece") {
    std::string prefix = child(step, "prefix").is_string() ? text(child(step, "prefix")) : "##";
    return prefix.size() > kMaxReplacement ? refuse("decoder", step)
                                           : put(PipelineStep::kDecodeWordPiece, this->put(prefix),
                                                 size(prefix), flag(child(step, "cleanup"), true));
  }
  if (type == "BPEDecoder") {
    std::string suffix = child(step, "suffix").is_string() ? text(child(step, "suffix")) : "</w>";
    return suffix.empty() || suffix.size() > kMaxReplacement
               ? refuse("decoder", step)
               : put(PipelineStep::kDecodeSuffix, this->put(suffix), size(suffix));
  }
  return refuse("decoder", step);
}

/// One template: ids before the first text, between the two, after the last.
Status readTemplate(const json &list, const json &specials, const std::string &name, bool pair,
                    std::array<std::vector<uint32_t> *, 3> parts) {
  size_t texts = 0;
  for (const json &item : list) {
    const json &sequence = child(item, "Sequence"), &special = child(item, "SpecialToken");
    if (sequence.is_object()) {
      bool inOrder = child(sequence, "id") == (texts == 0 ? "A" : "B");
      if (!inOrder || ++texts > (pair ? 2 : 1))
        return base::unsupported("its template takes its texts in an order that platen does not "
                                 "implement: " +
                                     shown(list),
                                 name);
      continue;
    }
    const json &ids = child(child(specials, text(child(special, "id")).c_str()), "ids");
    for (const json &id : ids) {
      if (!id.is_number_unsigned())
        return base::corrupt("has a template with an id " + shown(id), name);
      parts[pair ? texts : texts * 2]->push_back(id.get<uint32_t>());
    }
    if (!ids.is_array())
      return base::corrupt("has a template with a token of no ids: " + shown(item), name);
  }
  if (texts != (pair ? 2U : 1U))
    return base::unsupported("its template leaves a text out: " + shown(list), name);
  return Status::ok();
}

} // namespace

Status readNormalizers(const json &value, const std::string &name, TokenizerPipeline &pipeline) {
  Steps steps(name, pipeline);
  for (const json &step : sequence(value, "normalizers"))
    PLATEN_RETURN_IF_ERROR(steps.normalizer(step));
  return Status::ok();
}

Status readPreTokenizers(const json &value, const std::string &name, TokenizerPipeline &pipeline) {
  Steps steps(name, pipeline);
  for (const json &step : sequence(value, "pretokenizers"))
    PLATEN_RETURN_IF_ERROR(steps.preTokenizer(step));
  return Status::ok();
}

Status readDecoders(const json &value, const std::string &name, TokenizerPipeline &pipeline) {
  Steps steps(name, pipeline);
  if (value.is_null())
    pipeline.decoders.push_back({PipelineStep::kDecodeSpaces, 0, 0, 0});
  bool joined = false;
  for (const json &step : sequence(value, "decoders")) {
    PLATEN_RETURN_IF_ERROR(steps.decoder(step, joined));
    std::string type = text(child(step, "type"));
    joined |= type == "Fuse" || type == "ByteLevel";
  }
  return Status::ok();
}

Status readPostProcessor(const json &value, const std::string &name, TokenizerPipeline &pipeline) {
  for (const json &step : sequence(value, "processors")) {
    std::string type = text(child(step, "type"));
    if (type == "ByteLevel")
      continue; // moves offsets only
    if (!pipeline.before.empty() || !pipeline.after.empty())
      return base::unsupported("has a second post_processor " + shown(step), name);
    if (type == "TemplateProcessing") {
      const json &specials = child(step, "special_tokens");
      PLATEN_RETURN_IF_ERROR(readTemplate(child(step, "single"), specials, name, false,
                                          {&pipeline.before, nullptr, &pipeline.after}));
      PLATEN_RETURN_IF_ERROR(
          readTemplate(child(step, "pair"), specials, name, true,
                       {&pipeline.pairBefore, &pipeline.pairBetween, &pipeline.pairAfter}));
    } else if (type == "BertProcessing" || type == "RobertaProcessing") {
      const json &first = child(step, "cls"), &last = child(step, "sep");
      if (!first.is_array() || !last.is_array() || first.size() != 2 || last.size() != 2 ||
          !first[1].is_number_unsigned() || !last[1].is_number_unsigned())
        return base::corrupt("has a post_processor without ids: " + shown(step), name);
      uint32_t sep = last[1].get<uint32_t>();
      pipeline.before = pipeline.pairBefore = {first[1].get<uint32_t>()};
      pipeline.after = pipeline.pairAfter = {sep};
      pipeline.pairBetween = {sep};
      if (type == "RobertaProcessing")
        pipeline.pairBetween.push_back(sep);
    } else {
      return base::unsupported("post_processor " + shown(step) + " is none that platen implements",
                               name);
    }
  }
  for (const auto *part : {&pipeline.before, &pipeline.after, &pipeline.pairBefore,
                           &pipeline.pairBetween, &pipeline.pairAfter})
    for (uint32_t id : *part)
      if (id >= pipeline.pieces.size())
        return base::corrupt(
            "has a template with the id " + std::to_string(id) + ", which no token has", name);
  return Status::ok();
}

} // namespace platen::compiler
