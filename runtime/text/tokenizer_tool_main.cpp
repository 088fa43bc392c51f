// platen_tokenizer_tool SECTION: encodes and decodes over stdin and stdout, for comparisons with
// other tokenizers.
//
// Requests and answers are little-endian: u32 n, then n units.
//   'e' n bytes of text -> u32 count, i32 ids
//   'p' the same, with control pieces in the text parsed
//   't' the same as 'p', with what the tokenizer puts at both ends
//   '2' n bytes: u32 bytes of a first text, that, a second text -> ids of the pair, as 'p'
//   'd' n i32 ids       -> u32 bytes, text
//   's' the same, piece by piece through StreamDecoder
//   'b' n bytes of text -> u32 8, f64 CPU nanoseconds of one encode() (a benchmark)
// An error is answered by u32 0xFFFFFFFF and ends the program with its message on stderr. 's' also
// checks that every piece of output is valid UTF-8.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iterator>

#include "runtime/base/utf8.h"
#include "runtime/text/tokenizer.h"

namespace {

using platen::base::Result;
using platen::base::Status;
using platen::text::Tokenizer;

template <typename T> bool readExactly(T *data, size_t count) {
  return std::fread(data, sizeof(T), count, stdin) == count;
}

template <typename T> void answer(const T &values) {
  auto count = static_cast<uint32_t>(values.size());
  std::fwrite(&count, sizeof(count), 1, stdout);
  std::fwrite(values.data(), sizeof(values[0]), values.size(), stdout);
  std::fflush(stdout);
}

Result<std::string> decodeByPieces(const Tokenizer &tokenizer, const std::vector<int32_t> &ids) {
  platen::text::StreamDecoder decoder(tokenizer);
  std::string all, part;
  for (size_t i = 0; i <= ids.size(); ++i, part.clear()) {
    if (i < ids.size())
      PLATEN_RETURN_IF_ERROR(decoder.push(ids[i], part));
    else
      decoder.finish(part);
    if (!platen::base::isValidUtf8(part))
      return platen::base::internalError("a part of the stream is no valid UTF-8");
    all += part;
  }
  return all;
}

/// Time on the processor: what other programs on the machine take does not count.
double cpuNanoseconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

Status servePair(const Tokenizer &tokenizer, std::string_view text) {
  uint32_t first = 0;
  if (text.size() < sizeof(first))
    return platen::base::invalidArgument("the pair has no size");
  std::memcpy(&first, text.data(), sizeof(first));
  text.remove_prefix(sizeof(first));
  PLATEN_ASSIGN_OR_RETURN(std::vector<int32_t> ids,
                          tokenizer.encodePair(text.substr(0, first),
                                               text.substr(std::min<size_t>(first, text.size())),
                                               {.parseSpecial = true}));
  answer(ids);
  return Status::ok();
}

Status serveText(const Tokenizer &tokenizer, char verb, const std::string &text) {
  if (verb == '2')
    return servePair(tokenizer, text);
  platen::text::EncodeOptions options;
  options.parseSpecial = verb == 'p' || verb == 't';
  options.addBos = options.addEos = verb == 't';
  double begin = cpuNanoseconds();
  PLATEN_ASSIGN_OR_RETURN(std::vector<int32_t> ids, tokenizer.encode(text, options));
  double ns = cpuNanoseconds() - begin;
  if (verb == 'b')
    answer(std::string_view(reinterpret_cast<const char *>(&ns), sizeof(ns)));
  else
    answer(ids);
  return Status::ok();
}

Status serveIds(const Tokenizer &tokenizer, char verb, const std::vector<int32_t> &ids) {
  PLATEN_ASSIGN_OR_RETURN(std::string text,
                          verb == 's' ? decodeByPieces(tokenizer, ids) : tokenizer.decode(ids));
  answer(text);
  return Status::ok();
}

Status serve(const Tokenizer &tokenizer) {
  char verb;
  while (readExactly(&verb, 1)) {
    uint32_t count = 0;
    if (!readExactly(&count, 1))
      return platen::base::invalidArgument("the request ends after its verb");
    bool text = std::string_view("eptb2").find(verb) != std::string_view::npos;
    std::string bytes(text ? count : 0, '\0');
    std::vector<int32_t> ids(text ? 0 : count);
    if (!readExactly(bytes.data(), bytes.size()) || !readExactly(ids.data(), ids.size()))
      return platen::base::invalidArgument("the request is shorter than it says");
    PLATEN_RETURN_IF_ERROR(text ? serveText(tokenizer, verb, bytes)
                                : serveIds(tokenizer, verb, ids));
  }
  return Status::ok();
}

Status run(const char *path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  if (!file)
    return platen::base::ioError("cannot be read", path);
  auto begin = std::chrono::steady_clock::now();
  PLATEN_ASSIGN_OR_RETURN(auto tokenizer, Tokenizer::fromSection(std::as_bytes(std::span(bytes))));
  auto us = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() -
                                                                  begin);
  std::fprintf(stderr, "loaded %d pieces from %zu bytes in %lld us\n", tokenizer->vocabularySize(),
               bytes.size(), static_cast<long long>(us.count()));
  return serve(*tokenizer);
}

} // namespace

int main(int argc, char **argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s SECTION\n", argv[0]);
    return 2;
  }
  if (Status status = run(argv[1]); !status.isOk()) {
    uint32_t failed = 0xFFFFFFFF;
    std::fwrite(&failed, sizeof(failed), 1, stdout);
    std::fprintf(stderr, "%s\n", status.toString().c_str());
    return 1;
  }
  return 0;
}
