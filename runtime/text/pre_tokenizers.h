// Cuts normalised text into words, the stretches that a model sees one at a time: the
// pre-tokenizers of a pipeline section, as Hugging Face tokenizers applies them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/text/pipeline_view.h"

namespace platen::text {

/// Working memory of one encode() call; not for several threads.
class PreTokenizer {
public:
  explicit PreTokenizer(const PipelineView &view) : view_(view) {}

  /// `head` as NormalText::head. The words stand until the next call.
  void run(std::string_view text, size_t head);
  size_t words() const { return words_.size(); }
  std::string_view word(size_t index) const { return textOf(words_[index]); }

private:
  /// Bytes [begin, end) of text_; `head` as NormalText::head, `first`: begins the whole input.
  struct Word {
    size_t begin, end, head;
    bool first;
  };
  struct Match {
    size_t begin, end;
    bool matched;
  };
  std::string_view textOf(const Word &word) const {
    return std::string_view(text_).substr(word.begin, word.end - word.begin);
  }
  void apply(const plan::PipelineRecord &record);
  /// `find(word, matches)` lists matches and what lies between them, covering the word.
  template <typename Find> void split(uint32_t behavior, Find find);
  template <typename Find> void splitAt(uint32_t behavior, Find find);
  void splitProperty(uint32_t properties, uint32_t behavior);
  void splitWords();
  void keep(const Word &word, size_t begin, size_t end);
  void keepJoined(const Word &word, uint32_t behavior);
  void metaspace(const plan::PipelineRecord &record);
  void rewrite(const plan::PipelineRecord &record);

  const PipelineView &view_;
  std::string text_, newText_;
  std::vector<Word> words_, newWords_;
  std::vector<Match> matches_;
};

} // namespace platen::text
