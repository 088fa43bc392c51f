// Reads the file, picks its reader, checks what both readers promise, writes the section.
#include "compiler/tokenizer/tokenizer_section.h"

#include <fstream>
#include <set>

#include "compiler/tokenizer/chat_reader.h"
#include "compiler/tokenizer/pipeline_model.h"
#include "compiler/tokenizer/tokenizer_model.h"
#include "runtime/base/utf8.h"
#include "runtime/text/normalizers.h"
#include "runtime/text/pipeline_view.h"

namespace platen::compiler {

using base::Result;
using base::Status;
using plan::PieceType;

namespace {

Result<std::string> readFile(const std::filesystem::path &file) {
  std::error_code error;
  if (!std::filesystem::exists(file, error))
    return base::notFound("there is no such tokenizer file", file.string());
  if (!std::filesystem::is_regular_file(file, error))
    return base::ioError("is no regular file; name the tokenizer.model or tokenizer.json itself",
                         file.string());
  std::ifstream stream(file, std::ios::binary);
  std::string contents(static_cast<size_t>(std::filesystem::file_size(file, error)), '\0');
  if (error || !stream.read(contents.data(), static_cast<std::streamsize>(contents.size())))
    return base::ioError("cannot be read", file.string());
  return contents;
}

bool isBytePiece(std::string_view text) {
  auto isHex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'); };
  return text.size() == 6 && text.starts_with("<0x") && isHex(text[3]) && isHex(text[4]) &&
         text[5] == '>';
}

} // namespace

Status checkPieces(const TokenizerModel &model, const std::string &name) {
  std::set<std::string_view> bytes;
  uint64_t textBytes = 0;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const TokenizerPiece &piece = model.pieces[id];
    textBytes += piece.text.size();
    if (piece.text.empty())
      return base::corrupt("piece " + std::to_string(id) + " is empty", name);
    if (!base::isValidUtf8(piece.text))
      return base::corrupt("piece " + std::to_string(id) + " is no valid UTF-8", name);
    if (piece.type != PieceType::kByte)
      continue;
    if (!isBytePiece(piece.text))
      return base::corrupt("byte piece " + std::to_string(id) + " is '" + piece.text +
                               "' instead of '<0x..>'",
                           name);
    bytes.insert(piece.text);
  }
  if (textBytes > UINT32_MAX || model.pieces.size() > INT32_MAX)
    return base::unsupported("the vocabulary is larger than 4 GiB of text", name);
  bool fallback = (model.flags & plan::kByteFallback) != 0;
  if (fallback && bytes.size() != 256)
    return base::corrupt("asks for byte fallback and has " + std::to_string(bytes.size()) +
                             " of 256 byte pieces",
                         name);
  if (!fallback && !bytes.empty())
    return base::corrupt("has byte pieces without byte fallback", name);
  return Status::ok();
}

namespace {

/// Texts of added tokens as the tokenizer's own normalizers leave them: what matching and decoding
/// see. The runtime's code does it, on a section that has no such tokens yet.
Status normalizeTokens(TokenizerPipeline &pipeline, const std::string &name) {
  if (pipeline.normalTokens.empty() || pipeline.normalizers.empty())
    return Status::ok();
  std::vector<uint32_t> tokens = std::exchange(pipeline.normalTokens, {});
  PLATEN_ASSIGN_OR_RETURN(std::vector<std::byte> section, writePipelineSection(pipeline, name));
  pipeline.normalTokens = std::move(tokens);
  PLATEN_ASSIGN_OR_RETURN(text::PipelineView view, text::PipelineView::open(section));
  for (uint32_t id : pipeline.normalTokens) {
    PipelinePiece &piece = pipeline.pieces[id];
    text::NormalText normal{piece.spelled, piece.spelled.size()};
    PLATEN_RETURN_IF_ERROR(text::normalizePipeline(view, normal));
    if (normal.text != piece.text && piece.inModel)
      return base::unsupported("the added token '" + piece.spelled + "' becomes '" + normal.text +
                                   "' when it is normalised, and the model's vocabulary holds it "
                                   "too; platen does not implement that",
                               name);
    piece.text = normal.text;
  }
  return Status::ok();
}

Result<TokenizerSection> buildPipeline(std::string_view contents, const std::string &name) {
  PLATEN_ASSIGN_OR_RETURN(TokenizerPipeline pipeline, readPipeline(contents, name));
  PLATEN_RETURN_IF_ERROR(normalizeTokens(pipeline, name));
  TokenizerSection section;
  PLATEN_ASSIGN_OR_RETURN(section.bytes, writePipelineSection(pipeline, name));
  // What the runtime would refuse must never reach a plan.
  PLATEN_RETURN_IF_ERROR(text::PipelineView::open(section.bytes).status().at(name));
  section.kind = plan::kPipelineName;
  section.vocabulary = static_cast<uint32_t>(pipeline.pieces.size());
  section.bos = pipeline.bos, section.eos = pipeline.eos;
  section.unknown = pipeline.unknown, section.pad = pipeline.pad;
  return section;
}

} // namespace

namespace {

Result<TokenizerSection> buildWithoutChat(const std::filesystem::path &file) {
  PLATEN_ASSIGN_OR_RETURN(std::string contents, readFile(file));
  std::string name = file.string();
  size_t first = contents.find_first_not_of(" \t\r\n");
  bool isJson = first != std::string::npos && contents[first] == '{';
  auto model = isJson ? readHuggingFace(contents, name) : readSentencePiece(contents, name);
  // Of tokenizer.json the first reader takes what works as sentencepiece's BPE does.
  if (isJson && model.status().code() == base::StatusCode::kUnsupported)
    return buildPipeline(contents, name);
  if (!model.isOk())
    return model.status();
  TokenizerSection section;
  section.bytes = writeTokenizerSection(*model);
  section.kind = plan::kSentencePieceBpeName;
  section.vocabulary = static_cast<uint32_t>(model->pieces.size());
  section.bos = model->bos, section.eos = model->eos;
  section.unknown = model->unknown, section.pad = model->pad;
  return section;
}

} // namespace

Result<TokenizerSection> buildTokenizerSection(const std::filesystem::path &file) {
  PLATEN_ASSIGN_OR_RETURN(TokenizerSection section, buildWithoutChat(file));
  PLATEN_ASSIGN_OR_RETURN(ChatSource chat, readChat(file.parent_path()));
  appendChat(chat, section.bytes);
  return section;
}

} // namespace platen::compiler
