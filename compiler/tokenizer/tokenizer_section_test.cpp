// What buildTokenizerSection() refuses, and that it says what, where and why.
#include "compiler/tokenizer/tokenizer_section.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <fstream>
#include <functional>

#include "compiler/tokenizer/sentencepiece.pb.h"

namespace platen::compiler {
namespace {

using base::StatusCode;
using nlohmann::json;
using testing::HasSubstr;

/// A folder of the running test's own: tests run side by side.
std::filesystem::path folder() {
  const testing::TestInfo *test = testing::UnitTest::GetInstance()->current_test_info();
  auto path =
      std::filesystem::path(testing::TempDir()) / "platen_tokenizer_section_test" / test->name();
  std::filesystem::create_directories(path);
  return path;
}

std::filesystem::path write(const std::string &name, const std::string &contents) {
  std::filesystem::path path = folder() / name;
  std::ofstream(path, std::ios::binary) << contents;
  return path;
}

void expectFailure(const std::filesystem::path &file, StatusCode code, const std::string &part) {
  auto result = buildTokenizerSection(file);
  ASSERT_FALSE(result.isOk()) << "accepted, expected: " << part;
  EXPECT_EQ(result.status().code(), code) << result.status().toString();
  EXPECT_THAT(result.status().toString(), HasSubstr(part));
  EXPECT_THAT(result.status().toString(), HasSubstr(file.filename().string()));
}

/// A sentencepiece model: <unk>, <s>, </s>, the letters a b c, "ab", "abc".
sentencepiece::Model smallModel() {
  sentencepiece::Model model;
  auto add = [&](const char *text, float score, int type) {
    auto *piece = model.add_pieces();
    piece->set_piece(text), piece->set_score(score), piece->set_type(type);
  };
  add("<unk>", 0, 2), add("<s>", 0, 3), add("</s>", 0, 3);
  add("a", -3, 1), add("b", -4, 1), add("c", -5, 1), add("ab", -1, 1), add("abc", -2, 1);
  model.mutable_trainer_spec()->set_model_type(2);
  return model;
}

void expectModelFailure(const std::function<void(sentencepiece::Model &)> &change, StatusCode code,
                        const std::string &part) {
  sentencepiece::Model model = smallModel();
  change(model);
  expectFailure(write("changed.model", model.SerializeAsString()), code, part);
}

TEST(SentencePieceReader, ReadsASmallModelTheSameWayTwice) {
  auto file = write("small.model", smallModel().SerializeAsString());
  auto first = buildTokenizerSection(file), second = buildTokenizerSection(file);
  ASSERT_TRUE(first.isOk()) << first.status().toString();
  EXPECT_EQ(first->bytes, second->bytes);
  EXPECT_EQ(first->kind, "sentencepiece-bpe");
  EXPECT_EQ(first->vocabulary, 8U);
  EXPECT_EQ(first->bos, 1);
  EXPECT_EQ(first->eos, 2);
  EXPECT_EQ(first->unknown, 0);
  EXPECT_EQ(first->pad, -1);
}

TEST(SentencePieceReader, RefusesFilesThatCannotBeRead) {
  expectFailure(folder() / "absent.model", StatusCode::kNotFound, "no such");
  std::filesystem::create_directories(folder() / "folder.model");
  expectFailure(folder() / "folder.model", StatusCode::kIo, "no regular file");
  expectFailure(write("empty.model", ""), StatusCode::kCorrupt, "no pieces");
  expectFailure(write("noise.model", "\xff\xfe garbage"), StatusCode::kCorrupt, "truncated");
}

TEST(SentencePieceReader, NoTruncationIsTakenForTheWholeModel) {
  std::string whole = smallModel().SerializeAsString();
  for (size_t bytes = 0; bytes < whole.size(); ++bytes)
    EXPECT_FALSE(buildTokenizerSection(write("cut.model", whole.substr(0, bytes))).isOk()) << bytes;
}

TEST(SentencePieceReader, NamesWhatItDoesNotImplement) {
  expectModelFailure([](auto &m) { m.mutable_trainer_spec()->set_model_type(1); },
                     StatusCode::kUnsupported, "'unigram'");
  expectModelFailure([](auto &m) { m.mutable_trainer_spec()->clear_model_type(); },
                     StatusCode::kUnsupported, "'unigram'");
  expectModelFailure(
      [](auto &m) {
        m.mutable_normalizer_spec()->set_name("nmt_nfkc");
        m.mutable_normalizer_spec()->set_precompiled_charsmap("x");
      },
      StatusCode::kUnsupported, "'nmt_nfkc'");
  expectModelFailure([](auto &m) { m.mutable_denormalizer_spec()->set_precompiled_charsmap("x"); },
                     StatusCode::kUnsupported, "denormalizer");
  expectModelFailure([](auto &m) { m.mutable_pieces(4)->set_type(9); }, StatusCode::kUnsupported,
                     "type 9");
}

TEST(SentencePieceReader, NamesWhatContradictsItself) {
  expectModelFailure([](auto &m) { m.mutable_pieces(4)->set_piece("a"); }, StatusCode::kCorrupt,
                     "appears twice");
  expectModelFailure([](auto &m) { m.mutable_pieces(4)->set_piece(""); }, StatusCode::kCorrupt,
                     "piece 4 is empty");
  expectModelFailure([](auto &m) { m.mutable_pieces(4)->set_piece("\xC3"); }, StatusCode::kCorrupt,
                     "UTF-8");
  expectModelFailure([](auto &m) { m.mutable_pieces(4)->set_score(NAN); }, StatusCode::kCorrupt,
                     "score");
  expectModelFailure([](auto &m) { m.mutable_pieces(4)->set_type(2); }, StatusCode::kCorrupt,
                     "two unknown");
  expectModelFailure([](auto &m) { m.mutable_pieces(0)->set_type(1); }, StatusCode::kCorrupt,
                     "no unknown");
  expectModelFailure([](auto &m) { m.mutable_pieces(4)->set_type(6); }, StatusCode::kCorrupt,
                     "'b'");
  expectModelFailure([](auto &m) { m.mutable_trainer_spec()->set_byte_fallback(true); },
                     StatusCode::kCorrupt, "0 of 256");
}

/// A tokenizer.json of Gemma's kind: byte pieces, a b c, U+2581, two merges, one special and one
/// other added token.
json smallJson() {
  json vocabulary;
  auto add = [&](const std::string &piece) { vocabulary[piece] = vocabulary.size(); };
  add("<unk>"), add("<bos>");
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof(name), "<0x%02X>", byte);
    add(name);
  }
  for (const char *piece : {"a", "b", "c", "\u2581", "ab", "abc", "\n"})
    add(piece);
  auto added = [&](const char *piece, bool special) {
    return json{{"id", vocabulary[piece]}, {"content", piece}, {"special", special},
                {"normalized", false},     {"lstrip", false},  {"rstrip", false},
                {"single_word", false}};
  };
  json space = {{"String", " "}}, symbol = {{"String", "\u2581"}};
  return {{"added_tokens", {added("<bos>", true), added("\n", false)}},
          {"normalizer", {{"type", "Replace"}, {"pattern", space}, {"content", "\u2581"}}},
          {"pre_tokenizer", nullptr},
          {"decoder",
           {{"type", "Sequence"},
            {"decoders",
             {{{"type", "Replace"}, {"pattern", symbol}, {"content", " "}},
              {{"type", "ByteFallback"}},
              {{"type", "Fuse"}}}}}},
          {"model",
           {{"type", "BPE"},
            {"unk_token", "<unk>"},
            {"byte_fallback", true},
            {"vocab", vocabulary},
            {"merges", json::parse(R"([["a", "b"], ["ab", "c"]])")}}}};
}

void expectJsonFailure(const std::function<void(json &)> &change, StatusCode code,
                       const std::string &part) {
  json file = smallJson();
  change(file);
  expectFailure(write("changed.json", file.dump()), code, part);
}

TEST(HuggingFaceReader, ReadsBothSpellingsOfMerges) {
  auto pairs = buildTokenizerSection(write("pairs.json", smallJson().dump()));
  json file = smallJson();
  file["model"]["merges"] = {"a b", "ab c"};
  auto legacy = buildTokenizerSection(write("legacy.json", " \n" + file.dump()));
  ASSERT_TRUE(pairs.isOk()) << pairs.status().toString();
  ASSERT_TRUE(legacy.isOk()) << legacy.status().toString();
  EXPECT_EQ(pairs->bytes, legacy->bytes);
  EXPECT_EQ(pairs->bos, 1);
  EXPECT_EQ(pairs->unknown, 0);
}

TEST(HuggingFaceReader, NamesWhatItDoesNotImplement) {
  StatusCode code = StatusCode::kUnsupported;
  expectJsonFailure([](json &f) { f["model"]["type"] = "Magic"; }, code, "model type \"Magic\"");
  expectJsonFailure([](json &f) { f["model"]["dropout"] = 0.1; }, code, "model.dropout 0.1");
  expectJsonFailure([](json &f) { f["model"]["end_of_word_suffix"] = "</w>"; }, code, "</w>");
  expectJsonFailure([](json &f) { f["model"]["vocab"]["far"] = 50000000; }, code,
                    "'far' has id 50000000");
  expectJsonFailure([](json &f) { f["normalizer"] = {{"type", "Nfz"}}; }, code,
                    "normalizer {\"type\":\"Nfz\"}");
  expectJsonFailure([](json &f) { f["pre_tokenizer"] = {{"type", "UnicodeScripts"}}; }, code,
                    "pre_tokenizer {\"type\":\"UnicodeScripts\"}");
  expectJsonFailure([](json &f) { f["decoder"] = {{"type", "CTC"}}; }, code, "\"CTC\"");
  expectJsonFailure(
      [](json &f) {
        f["normalizer"] = {{"type", "NFC"}};
        f["post_processor"] = {{"type", "Other"}};
      },
      code, "\"Other\"");
  // What sees tokens one by one cannot come after what joins them.
  expectJsonFailure(
      [](json &f) {
        f["decoder"]["decoders"].push_back({{"type", "WordPiece"}, {"prefix", "##"}});
      },
      code, "after what joins tokens");
}

TEST(HuggingFaceReader, NamesWhatARegularExpressionMustNotHave) {
  const std::pair<const char *, const char *> cases[] = {
      {R"((?<=a)b)", "'(?' of a kind"},
      {R"((?>a+)b)", "'(?' of a kind"},
      {R"(\bword)", "'\\b'"},
      {R"((a)\1)", "'\\1'"},
      {R"(^a)", "'^'"},
      {R"(a(?!bc))", "lookahead at more than one character"},
      {R"(\p{Klingon}+)", "'Klingon'"},
      {R"((?i:großen))", "outside ASCII"},
      {R"((?i:miss))", "ligature"},
      {R"(a{2000})", "repetition count"},
      {R"((ab)++)", "possessive"},
      {R"([[:alpha:]]+)", "bracket class"},
      {R"(a*)", "empty text"},
      {R"(()", "no ')'"},
      {R"(a))", "')' that nothing opened"},
      {R"([a)", "no ']'"},
  };
  for (const auto &[pattern, part] : cases)
    expectJsonFailure(
        [&, regex = pattern](json &f) {
          f["pre_tokenizer"] = {{"type", "Split"},
                                {"pattern", {{"Regex", regex}}},
                                {"behavior", "Isolated"},
                                {"invert", false}};
        },
        StatusCode::kUnsupported, part);
}

TEST(HuggingFaceReader, WhatIsNoSentencePieceBecomesAPipeline) {
  json file = smallJson();
  file["normalizer"] = {{"type", "NFKC"}};
  file["added_tokens"][0]["lstrip"] = true;
  file["model"]["vocab"]["gap"] = 5000;
  auto first = buildTokenizerSection(write("pipeline.json", file.dump()));
  auto second = buildTokenizerSection(write("pipeline.json", file.dump()));
  ASSERT_TRUE(first.isOk()) << first.status().toString();
  EXPECT_EQ(first->kind, "pipeline");
  EXPECT_EQ(first->vocabulary, 5001U);
  EXPECT_EQ(first->bos, 1);
  EXPECT_EQ(first->bytes, second->bytes);
}

TEST(HuggingFaceReader, NamesWhatContradictsItself) {
  StatusCode code = StatusCode::kCorrupt;
  expectFailure(write("cut.json", smallJson().dump().substr(0, 500)), code, "JSON");
  expectFailure(write("other.json", "{\"a\": [1, 2]}"), code, "model.vocab");
  expectJsonFailure([](json &f) { f["model"]["merges"] = json::parse(R"([["a", "x"]])"); }, code,
                    "merge 0 ('a', 'x')");
  expectJsonFailure([](json &f) { f["model"]["merges"] = json::parse(R"([["a"]])"); }, code,
                    "merge 0");
  expectJsonFailure(
      [](json &f) { f["model"]["merges"] = json::parse(R"([["a", "b"], ["a", "b"]])"); }, code,
      "twice");
  expectJsonFailure([](json &f) { f["model"]["vocab"]["b"] = f["model"]["vocab"]["a"]; }, code,
                    "two tokens");
  expectJsonFailure([](json &f) { f["model"]["type"] = "Unigram"; }, code, "model.vocab");
  expectJsonFailure(
      [](json &f) {
        f["model"]["vocab"].erase("<0x41>");
        f["model"]["vocab"]["new"] = 67;
      },
      code, "255 of 256");
}

TEST(HuggingFaceReader, NoWrongTypeAnywhereCrashes) {
  json whole = smallJson();
  std::function<void(json &)> breakEach = [&](json &node) {
    json kept = node;
    for (const json &other :
         {json(nullptr), json(7), json(-1), json("x"), json(true), json::array(), json::object(),
          json::array({1, 2}), json({{"type", "Sequence"}})}) {
      node = other;
      auto result = buildTokenizerSection(write("broken.json", whole.dump()));
      EXPECT_NE(result.status().code(), StatusCode::kInternal);
    }
    node = kept;
    if (node.is_structured() && node.size() < 50)
      for (json &inner : node)
        breakEach(inner);
  };
  breakEach(whole);
}

} // namespace
} // namespace platen::compiler
