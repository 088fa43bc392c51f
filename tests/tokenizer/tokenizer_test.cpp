// The tokenizer's public promises on a small hand-made vocabulary, hostile sections, and Gemma's
// vectors.
#include "runtime/text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include "compiler/tokenizer/tokenizer_section.h"
#include "runtime/base/utf8.h"
#include "runtime/plan/tokenizer_pipeline.h"
#include "runtime/plan/tokenizer_section.h"
#include "runtime/text/chat_template.h"

namespace platen::text {
namespace {

using base::StatusCode;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

/// Ids of the small vocabulary: 0 <unk>, 1 <bos>, 2 <eos>, 3..258 bytes, then these.
constexpr int32_t kA = 259, kB = 260, kC = 261, kSpace = 262, kAb = 263, kAbc = 264, kBc = 265,
                  kNewline = 266, kStart = 267, kStartTurn = 268;
constexpr int32_t byteId(int byte) { return 3 + byte; }

std::string smallJson(bool prefix) {
  json vocabulary;
  auto add = [&](const std::string &piece) { vocabulary[piece] = vocabulary.size(); };
  add("<unk>"), add("<bos>"), add("<eos>");
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof(name), "<0x%02X>", byte);
    add(name);
  }
  for (const char *piece :
       {"a", "b", "c", "\u2581", "ab", "abc", "bc", "\n", "<start>", "<start>turn"})
    add(piece);
  json added = json::array();
  for (const char *piece : {"<bos>", "<eos>", "<start>", "<start>turn", "\n"})
    added.push_back({{"id", vocabulary[piece]},
                     {"content", piece},
                     {"special", *piece == '<'},
                     {"normalized", false}});
  json replace = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}};
  json back = {{"type", "Replace"}, {"pattern", {{"String", "\u2581"}}}, {"content", " "}};
  json decoders = {back, {{"type", "ByteFallback"}}, {{"type", "Fuse"}}};
  json normalizers = json::array();
  if (prefix) {
    decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
    normalizers.push_back({{"type", "Prepend"}, {"prepend", "\u2581"}});
  }
  normalizers.push_back(replace);
  json file = {{"added_tokens", added},
               {"normalizer", {{"type", "Sequence"}, {"normalizers", normalizers}}},
               {"decoder", {{"type", "Sequence"}, {"decoders", decoders}}},
               {"model",
                {{"type", "BPE"},
                 {"unk_token", "<unk>"},
                 {"byte_fallback", true},
                 {"vocab", vocabulary},
                 {"merges", json::array({"b c", "a b", "ab c"})}}}};
  return file.dump();
}

std::vector<std::byte> buildSection(const std::string &json) {
  std::filesystem::path path = std::filesystem::path(testing::TempDir()) /
                               (std::string("tokenizer_test.") +
                                testing::UnitTest::GetInstance()->current_test_info()->name() +
                                ".json"); // tests run side by side
  std::ofstream(path, std::ios::binary) << json;
  auto section = compiler::buildTokenizerSection(path);
  EXPECT_TRUE(section.isOk()) << section.status().toString();
  return section.isOk() ? std::move(section->bytes) : std::vector<std::byte>();
}

class SmallTokenizer : public testing::Test {
protected:
  void use(bool prefix) {
    section_ = buildSection(smallJson(prefix));
    auto tokenizer = Tokenizer::fromSection(section_);
    ASSERT_TRUE(tokenizer.isOk()) << tokenizer.status().toString();
    tokenizer_ = std::move(*tokenizer);
  }
  void SetUp() override { use(false); }
  std::vector<int32_t> encode(std::string_view text, EncodeOptions options = {}) {
    auto ids = tokenizer_->encode(text, options);
    EXPECT_TRUE(ids.isOk()) << ids.status().toString();
    return ids.isOk() ? *ids : std::vector<int32_t>();
  }
  std::string decode(std::vector<int32_t> ids) {
    auto text = tokenizer_->decode(ids);
    EXPECT_TRUE(text.isOk()) << text.status().toString();
    return text.isOk() ? *text : "";
  }
  std::vector<std::byte> section_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(SmallTokenizer, MergesByRankNotByLength) {
  EXPECT_THAT(encode("abc"), ElementsAre(kA, kBc)); // (b, c) goes first and leaves no way to "abc"
  EXPECT_THAT(encode("ab abc"), ElementsAre(kAb, kSpace, kA, kBc));
  EXPECT_THAT(encode(""), ElementsAre());
}

TEST_F(SmallTokenizer, UnknownCharactersBecomeBytesAndBadBytesTheReplacementCharacter) {
  EXPECT_THAT(encode("\u00e9"), ElementsAre(byteId(0xC3), byteId(0xA9)));
  EXPECT_THAT(encode("a\xFF"), ElementsAre(kA, byteId(0xEF), byteId(0xBF), byteId(0xBD)));
  EXPECT_EQ(decode(encode("a\xFF")), "a\uFFFD");
}

TEST_F(SmallTokenizer, ControlPiecesComeFromTextOnlyWhenAskedFor) {
  for (int32_t id : encode("<bos>a<start>turn"))
    EXPECT_FALSE(tokenizer_->isControl(id)) << id;
  EXPECT_EQ(decode(encode("<bos>a<start>turn")), "<bos>a<start>turn");
  EXPECT_THAT(encode("<bos>a<start>turn<start>b", {.parseSpecial = true}),
              ElementsAre(1, kA, kStartTurn, kStart, kB));
}

TEST_F(SmallTokenizer, AddsTheEndsItIsAskedFor) {
  EXPECT_THAT(encode("a", {.addBos = true, .addEos = true}), ElementsAre(1, kA, 2));
  EXPECT_THAT(encode("", {.addBos = true}), ElementsAre(1));
  EXPECT_EQ(decode({1, kA, 2}), "a");
}

TEST_F(SmallTokenizer, PrefixIsPutBeforeAndTakenAwayOnce) {
  use(true);
  EXPECT_THAT(encode("a"), ElementsAre(kSpace, kA));
  EXPECT_THAT(encode(""), ElementsAre());
  EXPECT_EQ(decode(encode("  a b")), "  a b");
  EXPECT_EQ(decode({1, kSpace, kSpace, kA}), " a");
}

TEST_F(SmallTokenizer, StreamsOnlyWholeCharacters) {
  StreamDecoder stream(*tokenizer_);
  std::string out;
  std::vector<std::string> parts;
  for (int32_t id : {byteId(0xF0), byteId(0x9F), byteId(0x99), byteId(0x82), kSpace, byteId(0xE2),
                     byteId(0x28), byteId(0xF0), kA, byteId(0xE2), byteId(0x96)}) {
    out.clear();
    ASSERT_TRUE(stream.push(id, out).isOk());
    parts.push_back(out);
  }
  out.clear();
  stream.finish(out);
  EXPECT_THAT(parts,
              ElementsAre("", "", "", "\U0001F642", " ", "", "\uFFFD(", "", "\uFFFDa", "", ""));
  EXPECT_EQ(out, "\uFFFD\uFFFD");
}

TEST_F(SmallTokenizer, RefusesWhatItCannotDo) {
  std::string out;
  StreamDecoder stream(*tokenizer_);
  for (int32_t id : {-1, tokenizer_->vocabularySize(), INT32_MAX, INT32_MIN}) {
    auto text = tokenizer_->decode(std::vector<int32_t>{kA, id});
    ASSERT_FALSE(text.isOk());
    EXPECT_EQ(text.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(text.status().toString(), HasSubstr(std::to_string(id)));
    EXPECT_FALSE(stream.push(id, out).isOk());
    EXPECT_EQ(tokenizer_->pieceText(id), "");
    EXPECT_FALSE(tokenizer_->isControl(id));
  }
  EXPECT_EQ(out, "");
  std::unique_ptr<char[]> huge(new char[kMaxTextBytes + 1]); // never touched
  EXPECT_EQ(tokenizer_->encode({huge.get(), kMaxTextBytes + 1}).status().code(),
            StatusCode::kInvalidArgument);
}

TEST_F(SmallTokenizer, RefusesEndsThatTheVocabularyLacks) {
  plan::TokenizerHeader header;
  std::memcpy(&header, section_.data(), sizeof(header));
  header.bos = header.eos = -1;
  std::memcpy(section_.data(), &header, sizeof(header));
  auto tokenizer = Tokenizer::fromSection(section_);
  ASSERT_TRUE(tokenizer.isOk());
  EXPECT_EQ((*tokenizer)->encode("a", {.addBos = true}).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ((*tokenizer)->encode("a", {.addEos = true}).status().code(),
            StatusCode::kInvalidArgument);
}

TEST_F(SmallTokenizer, ShowsItsVocabulary) {
  EXPECT_EQ(tokenizer_->kind(), "sentencepiece-bpe");
  EXPECT_EQ(tokenizer_->vocabularySize(), kStartTurn + 1);
  EXPECT_EQ(tokenizer_->pieceText(kAbc), "abc");
  EXPECT_EQ(tokenizer_->bosId(), 1);
  EXPECT_EQ(tokenizer_->eosId(), 2);
  EXPECT_EQ(tokenizer_->unknownId(), 0);
  EXPECT_EQ(tokenizer_->padId(), -1);
  EXPECT_TRUE(tokenizer_->isControl(kStart));
  EXPECT_FALSE(tokenizer_->isControl(kNewline));
}

/// Encodes and decodes with whatever loads: nothing may crash, ids stay in the vocabulary, text
/// stays UTF-8.
void exercise(std::span<const std::byte> section) {
  auto tokenizer = Tokenizer::fromSection(section);
  if (!tokenizer.isOk()) {
    EXPECT_THAT(tokenizer.status().code(),
                testing::AnyOf(StatusCode::kCorrupt, StatusCode::kUnsupported));
    EXPECT_THAT(tokenizer.status().toString(), HasSubstr("tokenizer section"));
    return;
  }
  for (bool parse : {false, true}) {
    auto ids =
        (*tokenizer)
            ->encode("abc  ab\n<start>turn \u00e9\U0001F642 bcbc\xFF", {.parseSpecial = parse});
    if (!ids.isOk()) { // a text that a damaged section would blow up
      EXPECT_EQ(ids.status().code(), StatusCode::kCorrupt) << ids.status().toString();
      continue;
    }
    for (int32_t id : *ids)
      ASSERT_THAT(id, testing::AllOf(testing::Ge(0), testing::Lt((*tokenizer)->vocabularySize())));
    EXPECT_TRUE((*tokenizer)->decode(*ids).isOk());
  }
}

TEST(TokenizerSection, EveryTruncationIsRefused) {
  std::vector<std::byte> whole = buildSection(smallJson(false));
  for (size_t bytes = 0; bytes < whole.size(); bytes += bytes < 512 ? 1 : 61) {
    std::vector<std::byte> cut(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(bytes));
    EXPECT_EQ(Tokenizer::fromSection(cut).status().code(), StatusCode::kCorrupt) << bytes;
  }
}

TEST(TokenizerSection, FlippedBitsNeverCrash) {
  std::vector<std::byte> whole = buildSection(smallJson(false));
  for (size_t bit = 0; bit < sizeof(plan::TokenizerHeader) * 8; ++bit) {
    std::vector<std::byte> flipped = whole;
    flipped[bit / 8] ^= std::byte{1} << (bit % 8);
    exercise(flipped);
  }
  std::mt19937 random(7);
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::byte> flipped = whole;
    for (int i = 0; i < 1 + round % 4; ++i)
      flipped[random() % flipped.size()] ^= std::byte{1} << (random() % 8);
    exercise(flipped);
  }
}

/// A pipeline with every kind of table: normal form, properties, a pattern, merges, added tokens.
std::string pipelineJson() {
  json file = json::parse(smallJson(false));
  file["normalizer"] = {{"type", "Sequence"},
                        {"normalizers", {{{"type", "NFKC"}}, {{"type", "BertNormalizer"}}}}};
  file["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "Split"},
         {"pattern", {{"Regex", R"([^\s\p{L}]?\p{L}+|\p{N}{1,3}|\s+(?!\S)|\s+)"}}},
         {"behavior", "Isolated"},
         {"invert", false}},
        {{"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", "first"}}}}};
  file["added_tokens"][0]["lstrip"] = true;
  file["added_tokens"][1]["single_word"] = true;
  return file.dump();
}

TEST(TokenizerSection, EveryTruncationOfAPipelineIsRefused) {
  std::vector<std::byte> whole = buildSection(pipelineJson());
  ASSERT_TRUE(Tokenizer::fromSection(whole).isOk());
  for (size_t bytes = 0; bytes < whole.size(); bytes += bytes < 1024 ? 1 : 997) {
    std::vector<std::byte> cut(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(bytes));
    EXPECT_EQ(Tokenizer::fromSection(cut).status().code(), StatusCode::kCorrupt) << bytes;
  }
}

TEST(TokenizerSection, FlippedBitsOfAPipelineNeverCrash) {
  std::vector<std::byte> whole = buildSection(pipelineJson());
  for (size_t bit = 0; bit < sizeof(plan::PipelineHeader) * 8; ++bit) {
    std::vector<std::byte> flipped = whole;
    flipped[bit / 8] ^= std::byte{1} << (bit % 8);
    exercise(flipped);
  }
  std::mt19937 random(8);
  for (int round = 0; round < 1000; ++round) {
    std::vector<std::byte> flipped = whole;
    for (int i = 0; i < 1 + round % 40; ++i)
      flipped[random() % flipped.size()] ^= std::byte{1} << (random() % 8);
    exercise(flipped);
  }
}

TEST(TokenizerSection, NewerVersionsAndOtherKindsAreNamed) {
  std::vector<std::byte> section = buildSection(smallJson(false));
  auto change = [&](size_t offset, uint32_t value) {
    std::vector<std::byte> changed = section;
    std::memcpy(changed.data() + offset, &value, sizeof(value));
    return Tokenizer::fromSection(changed).status();
  };
  EXPECT_THAT(change(offsetof(plan::TokenizerHeader, version), 2).toString(),
              HasSubstr("UNSUPPORTED"));
  EXPECT_THAT(change(offsetof(plan::TokenizerHeader, kind), 9).toString(), HasSubstr("kind 9"));
  EXPECT_THAT(change(offsetof(plan::TokenizerHeader, magic), 0).toString(), HasSubstr("CORRUPT"));
}

TEST(TokenizerSection, AnyAlignmentWillDo) {
  std::vector<std::byte> section = buildSection(smallJson(false));
  section.insert(section.begin(), std::byte{0});
  auto tokenizer = Tokenizer::fromSection(std::span(section).subspan(1));
  ASSERT_TRUE(tokenizer.isOk());
  EXPECT_THAT(*(*tokenizer)->encode("abc"), ElementsAre(kA, kBc));
}

/// A folder with tokenizer.json and the given files beside it.
base::Result<compiler::TokenizerSection>
buildBeside(const std::vector<std::pair<std::string, std::string>> &files) {
  auto folder = std::filesystem::path(testing::TempDir()) / "platen_tokenizer_test" /
                testing::UnitTest::GetInstance()->current_test_info()->name();
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "tokenizer.json", std::ios::binary) << smallJson(false);
  for (const auto &[name, contents] : files)
    std::ofstream(folder / name, std::ios::binary) << contents;
  return compiler::buildTokenizerSection(folder / "tokenizer.json");
}

constexpr const char *kChat = R"({"bos_token": {"content": "<bos>"}, "eos_token": "<eos>",
  "chat_template": [{"name": "tool_use", "template": "no"}, {"name": "default", "template":
  "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}"}]})";

TEST(ChatSection, CarriesTheTemplateThatLiesBesideTheTokenizer) {
  auto section = buildBeside({{"tokenizer_config.json", kChat}});
  ASSERT_TRUE(section.isOk()) << section.status().toString();
  auto tokenizer = Tokenizer::fromSection(section->bytes);
  ASSERT_TRUE(tokenizer.isOk()) << tokenizer.status().toString();
  auto chat = ChatTemplate::parse((*tokenizer)->chatTemplate());
  ASSERT_TRUE(chat.isOk()) << chat.status().toString();
  ChatContext context{.messages = R"([{"role": "user", "content": "abc"}])",
                      .variables = std::string((*tokenizer)->chatVariables())};
  EXPECT_EQ(*chat->render(context), "<bos><user>abc<eos>");
  context.moreVariables = R"({"eos_token": "!"})";
  EXPECT_EQ(*chat->render(context), "<bos><user>abc!");
  // A file of its own wins.
  section = buildBeside({{"tokenizer_config.json", kChat}, {"chat_template.jinja", "{{ 1 + 1 }}"}});
  EXPECT_EQ((*Tokenizer::fromSection(section->bytes))->chatTemplate(), "{{ 1 + 1 }}");
  EXPECT_EQ((*Tokenizer::fromSection(buildBeside({})->bytes))->chatTemplate(), "");
}

TEST(ChatSection, RefusesWhatItCannotRenderByNameAndLine) {
  const std::pair<const char *, const char *> cases[] = {
      {"a\n{% include 'x' %}", "line 2: the tag 'include'"},
      {"{{ x | shuffle }}", "the filter 'shuffle'"},
      {"{{ x is prime }}", "the test 'prime'"},
      {"{{ x.encode() }}", "the method 'encode'"},
      {"{% for a in b recursive %}{% endfor %}", "a recursive loop"},
      {"{{ f(*a) }}", "an argument with '*'"},
  };
  for (const auto &[source, part] : cases) {
    auto section = buildBeside({{"chat_template.jinja", source}});
    EXPECT_EQ(section.status().code(), StatusCode::kUnsupported) << source;
    EXPECT_THAT(section.status().toString(), HasSubstr(part));
    EXPECT_THAT(section.status().toString(), HasSubstr("chat_template.jinja"));
  }
  for (const char *source : {"{{ 1", "{% if a %}", "{{ 'x }}", "{# open", "{{ ) }}", "{% if %}"})
    EXPECT_EQ(buildBeside({{"chat_template.jinja", source}}).status().code(),
              StatusCode::kInvalidArgument)
        << source;
}

TEST(ChatSection, NoTemplateRunsOrGrowsWithoutEnd) {
  const char *cases[] = {
      "{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}",
      "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
      "{% set n = namespace(x='abcdefgh') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% "
      "endfor %}",
      "{{ 'abcdefgh' * 999999999 }}"};
  for (const char *source : cases) {
    auto chat = ChatTemplate::parse(source);
    ASSERT_TRUE(chat.isOk()) << chat.status().toString();
    EXPECT_EQ(chat->render({.messages = "[]"}).status().code(), StatusCode::kResourceExhausted)
        << source;
  }
  // Nor does one overflow the stack, whether it nests or chains.
  std::string open(5000, '('), close(5000, ')'), sum = "1", dots = "x", filters = "x";
  for (int i = 0; i < 200000; ++i)
    sum += "+1", dots += ".y", filters += "|trim";
  for (const std::string &deep : {open + "1" + close, sum, dots, filters})
    EXPECT_EQ(ChatTemplate::parse("{{ " + deep + " }}").status().code(), StatusCode::kUnsupported);
}

TEST(ChatSection, ADamagedEndIsRefused) {
  std::vector<std::byte> section = buildBeside({{"chat_template.jinja", "hello"}})->bytes;
  plan::ChatTrailer trailer;
  auto change = [&](uint64_t bytes, uint32_t version) {
    std::vector<std::byte> changed = section;
    trailer.templateBytes = bytes, trailer.version = version;
    std::memcpy(changed.data() + changed.size() - sizeof(trailer), &trailer, sizeof(trailer));
    return Tokenizer::fromSection(changed).status().code();
  };
  EXPECT_EQ(change(5, 1), StatusCode::kOk);
  EXPECT_EQ(change(section.size(), 1), StatusCode::kCorrupt);
  EXPECT_EQ(change(UINT64_MAX, 1), StatusCode::kCorrupt);
  EXPECT_EQ(change(5, 2), StatusCode::kUnsupported);
}

TEST(Gemma3, MatchesTheReferenceVectors) {
  const char *shared = std::getenv("PLATEN_SHARED");
  std::ifstream vectors(std::string(shared ? shared : "") +
                        "/fixtures/gemma3-tokenizer-vectors.json");
  std::filesystem::path model = std::filesystem::path(PLATEN_GEMMA_DIR) / "tokenizer.model";
  if (!vectors || !std::filesystem::exists(model))
    GTEST_SKIP() << "needs the shared fixtures and PLATEN_GEMMA_DIR/tokenizer.model";
  auto section = compiler::buildTokenizerSection(model);
  ASSERT_TRUE(section.isOk()) << section.status().toString();
  auto tokenizer = Tokenizer::fromSection(section->bytes);
  ASSERT_TRUE(tokenizer.isOk()) << tokenizer.status().toString();
  json cases = json::parse(vectors);
  ASSERT_GE(cases.size(), 10U);
  for (const json &entry : cases) {
    auto text = entry["text"].get<std::string>();
    auto ids = entry["ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(*(*tokenizer)->encode(text), ids) << text;
    EXPECT_EQ(*(*tokenizer)->decode(ids), text);
  }
}

} // namespace
} // namespace platen::text
