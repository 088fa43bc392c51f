// A model made of arithmetic, for tests of everything above the executor.
//
// Its "KV cache" holds the tokens themselves, and its logits are a function of the tokens that it
// reads back through the page table. A page that was mixed up, lost, shared or not filled therefore
// changes the output. It checks its inputs as strictly as the real executor.
#pragma once

#include "runtime/engine/parts.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <set>

namespace platen::engine::fake {

inline constexpr int32_t kEos = 0;
inline constexpr int32_t kBos = 1;
inline constexpr int32_t kLetterA = 2; // 'a' .. 'z' are 2 .. 27
inline constexpr int32_t kSpace = 28;
inline constexpr int32_t kLeadByte = 29;  // C3, the first half of an e with acute
inline constexpr int32_t kTrailByte = 30; // A9, the second half
inline constexpr int32_t kPoison = 31;    // a sequence that holds it gets NaN logits
inline constexpr int32_t kPairs = 32;     // 32 .. 63: two letters each
inline constexpr int32_t kVocabulary = 64;

inline std::string pieceText(int32_t token) {
  if (token >= kLetterA && token < kSpace)
    return {static_cast<char>('a' + token - kLetterA)};
  if (token == kSpace)
    return " ";
  if (token == kLeadByte)
    return "\xC3";
  if (token == kTrailByte)
    return "\xA9";
  if (token >= kPairs && token < kVocabulary)
    return {static_cast<char>('a' + (token - kPairs) % 26),
            static_cast<char>('a' + (token - kPairs) / 4)};
  return "";
}

enum class Style {
  kHash,     ///< logits are noise, a function of the whole prefix
  kAlphabet, ///< after letter x comes x + 1; after z, a
};

/// logits [kVocabulary] after `prefix`.
inline std::vector<float> logitsAfter(std::span<const int32_t> prefix, Style style) {
  std::vector<float> logits(kVocabulary);
  if (std::ranges::find(prefix, kPoison) != prefix.end()) {
    logits[3] = std::numeric_limits<float>::quiet_NaN();
    return logits;
  }
  if (style == Style::kAlphabet) {
    int32_t last = prefix.back();
    int32_t next = last >= kLetterA && last < kSpace - 1 ? last + 1 : kLetterA;
    logits[static_cast<size_t>(next)] = 20;
    return logits;
  }
  uint64_t hash = 0xcbf29ce484222325U;
  for (int32_t token : prefix)
    hash = (hash ^ static_cast<uint64_t>(token + 1)) * 0x100000001b3U;
  for (float &logit : logits) {
    hash ^= hash << 13;
    hash ^= hash >> 7;
    hash ^= hash << 17;
    logit = static_cast<float>(hash >> 40) * (8.0F / (1 << 24)) - 4;
  }
  if (prefix.back() == kLeadByte)
    logits[kTrailByte] = 8; // so that whole characters are met, too
  logits[kPoison] = -std::numeric_limits<float>::infinity();
  return logits;
}

/// What a device does with a row: PlatenSampling restated in double.
inline int32_t drawFrom(std::span<const float> logits, const PlatenSampling &how) {
  std::vector<size_t> kept(logits.size());
  std::iota(kept.begin(), kept.end(), size_t{0});
  std::ranges::stable_sort(kept, std::greater(), [&](size_t i) { return logits[i]; });
  if (std::ranges::any_of(logits, [](float x) { return std::isnan(x); }))
    return -1;
  auto weight = [&](size_t i, double scale) {
    return std::exp((double{logits[i]} - double{logits[kept[0]]}) * scale);
  };
  auto sum = [&](double scale) {
    double total = 0;
    for (size_t i : kept)
      total += weight(i, scale);
    return total;
  };
  if (how.temperature < 1e-6F)
    return static_cast<int32_t>(kept[0]);
  if (how.top_k > 0)
    kept.resize(std::min(kept.size(), static_cast<size_t>(how.top_k)));
  if (how.top_p < 1) {
    double left = sum(1) * double{how.top_p};
    size_t count = 0;
    while (left > 0 && count < kept.size())
      left -= weight(kept[count++], 1);
    kept.resize(count);
  }
  float floor = logits[kept[0]] + how.log_min_p;
  std::erase_if(kept, [&](size_t i) { return logits[i] < floor; });
  double scale = 1 / double{how.temperature};
  double left = sum(scale) * static_cast<double>(how.uniform) * 0x1p-64;
  size_t best = kept[0];
  std::ranges::sort(kept);
  for (size_t i : kept)
    if ((left -= std::exp((double{logits[i]} - double{logits[best]}) * scale)) < 0)
      return static_cast<int32_t>(i);
  return static_cast<int32_t>(kept.back());
}

class Model : public StepExecutor {
public:
  /// `samples`: draws tokens itself where it is asked to.
  Model(const schedule::Limits &limits, Style style, bool samples = false)
      : limits_(limits), style_(style), samples_(samples) {
    cells_.assign(static_cast<size_t>(limits.total_pages * limits.page_tokens), -1);
  }

  base::Result<exec::StepOutputs> run(const exec::StepInputs &in) override {
    if (auto failure = std::exchange(fail_next_, base::Status()); !failure.isOk())
      return failure;
    PLATEN_RETURN_IF_ERROR(check(in));
    for (size_t t = 0; t < in.token_ids.size(); ++t)
      cells_[cell(in, in.sequence_of_token[t], in.positions[t])] = in.token_ids[t];
    logits_.clear();
    tokens_.clear();
    for (int32_t t : in.row_tokens) {
      auto token = static_cast<size_t>(t);
      std::vector<int32_t> prefix;
      for (int32_t p = 0; p <= in.positions[token]; ++p)
        prefix.push_back(cells_[cell(in, in.sequence_of_token[token], p)]);
      auto row = logitsAfter(prefix, style_);
      logits_.insert(logits_.end(), row.begin(), row.end());
    }
    for (size_t row = 0; row < in.sampling.size(); ++row)
      tokens_.push_back(drawn_amiss + drawFrom(std::span<const float>(logits_).subspan(
                                                   row * kVocabulary, kVocabulary),
                                               in.sampling[row]));
    exec::StepOutputs outputs;
    outputs.tokens = tokens_;
    if (in.read_logits) {
      outputs.logits = logits_;
      ++reads_of_logits;
    }
    return outputs;
  }
  bool samples() const override { return samples_; }

  uint64_t reads_of_logits = 0; ///< steps that asked for them
  int32_t drawn_amiss = 0;      ///< added to every token that it draws

  /// The next step fails.
  void failNext(base::Status status) { fail_next_ = std::move(status); }

private:
  size_t cell(const exec::StepInputs &in, int32_t sequence, int32_t position) const {
    auto page_tokens = static_cast<int32_t>(limits_.page_tokens);
    auto entry = static_cast<size_t>(sequence * in.page_table_stride + position / page_tokens);
    return static_cast<size_t>(in.page_table[entry] * page_tokens + position % page_tokens);
  }

  base::Status check(const exec::StepInputs &in) const {
    auto bad = [](const char *what) { return base::internalError(what, "fake model"); };
    auto tokens = std::ssize(in.token_ids);
    if (!in.sampling.empty() && (!samples_ || in.sampling.size() != in.row_tokens.size()))
      return bad("sampling is not for every row");
    if (tokens > limits_.step_tokens || std::ssize(in.row_tokens) > limits_.step_rows ||
        in.sequences > limits_.max_sequences)
      return bad("a step limit is exceeded");
    if (std::ssize(in.positions) != tokens || std::ssize(in.sequence_of_token) != tokens ||
        std::ssize(in.page_table) != in.sequences * in.page_table_stride)
      return bad("array sizes differ");
    for (size_t t = 0; t < in.token_ids.size(); ++t) {
      if (in.token_ids[t] < 0 || in.token_ids[t] >= kVocabulary)
        return bad("token outside the vocabulary");
      if (in.positions[t] < 0 || in.positions[t] >= limits_.context_tokens)
        return bad("position outside the context");
      if (in.positions[t] / limits_.page_tokens >= in.page_table_stride)
        return bad("position outside the page table");
      bool same = t > 0 && in.sequence_of_token[t] == in.sequence_of_token[t - 1];
      if (same && in.positions[t] != in.positions[t - 1] + 1)
        return bad("positions of a sequence are not adjacent");
      if (!same && in.sequence_of_token[t] != (t == 0 ? 0 : in.sequence_of_token[t - 1] + 1))
        return bad("sequences are not in ascending order");
    }
    std::set<int32_t> pages;
    for (int32_t page : in.page_table)
      if (page < -1 || page >= limits_.total_pages || (page >= 0 && !pages.insert(page).second))
        return bad("a page is outside of the pool or belongs to two places");
    for (size_t t = 0; t < in.token_ids.size(); ++t) {
      auto entry =
          in.sequence_of_token[t] * in.page_table_stride + in.positions[t] / limits_.page_tokens;
      if (in.page_table[static_cast<size_t>(entry)] < 0)
        return bad("a position has no page");
    }
    return {};
  }

  schedule::Limits limits_;
  Style style_;
  bool samples_;
  std::vector<int32_t> cells_;  // [pages, page_tokens] token ids
  std::vector<float> logits_;   // [R, kVocabulary]
  std::vector<int32_t> tokens_; // [R] or empty
  base::Status fail_next_;
};

/// Letters, spaces and one two-byte character.
class Decoder : public TextDecoder {
public:
  void push(int32_t token, std::string &text) override {
    std::string piece = pieceText(token);
    if (token == kTrailByte && half_) {
      text += "\xC3\xA9";
      half_ = false;
      return;
    }
    if (!piece.empty())
      finish(text);
    if (token == kLeadByte)
      half_ = true;
    else
      text += token == kTrailByte ? "\xEF\xBF\xBD" : piece;
  }
  void finish(std::string &text) override {
    if (half_)
      text += "\xEF\xBF\xBD";
    half_ = false;
  }

private:
  bool half_ = false;
};

class Codec : public TextCodec {
public:
  base::Result<std::vector<int32_t>> encode(std::string_view text, bool add_bos,
                                            bool parse_special) const override {
    std::vector<int32_t> tokens;
    if (parse_special && text == "<eos>")
      return std::vector<int32_t>{kEos};
    if (add_bos)
      tokens.push_back(kBos);
    for (char c : text)
      tokens.push_back(c >= 'a' && c <= 'z' ? kLetterA + c - 'a' : kSpace);
    return tokens;
  }
  base::Result<std::string> decode(std::span<const int32_t> tokens) const override {
    Decoder decoder;
    std::string text;
    for (int32_t token : tokens)
      decoder.push(token, text);
    decoder.finish(text);
    return text;
  }
  std::unique_ptr<TextDecoder> decoder() const override { return std::make_unique<Decoder>(); }
};

inline constexpr schedule::Limits kLimits{.context_tokens = 200,
                                          .step_tokens = 16,
                                          .step_rows = 8,
                                          .max_sequences = 4,
                                          .page_tokens = 4,
                                          .total_pages = 200};

inline EngineParts makeParts(Style style, const schedule::Limits &limits = kLimits,
                             bool samples = false) {
  EngineParts parts;
  parts.executor = std::make_unique<Model>(limits, style, samples);
  parts.text = std::make_unique<Codec>();
  parts.limits = limits;
  parts.add_bos = true;
  parts.model = {.name = "fake",
                 .weight_format = "none",
                 .code_target = "none",
                 .device = "arithmetic",
                 .vocabulary = kVocabulary,
                 .context_tokens = limits.context_tokens,
                 .step_tokens = limits.step_tokens,
                 .max_sequences = limits.max_sequences,
                 .page_tokens = limits.page_tokens,
                 .kv_pages = limits.total_pages,
                 .kv_page_bytes = 4,
                 .eos_tokens = {kEos},
                 .has_tokenizer = true};
  return parts;
}

inline Engine makeEngine(Style style, const schedule::Limits &limits = kLimits,
                         bool samples = false) {
  return EngineAccess::make(makeParts(style, limits, samples));
}

} // namespace platen::engine::fake
