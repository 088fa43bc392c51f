// Each step maps the list of words to a new one; steps that change text write it anew.
#include "runtime/text/pre_tokenizers.h"

#include <algorithm>

#include "runtime/text/normalizers.h"

namespace platen::text {

using plan::PipelineRecord;
using plan::PipelineStep;

void PreTokenizer::run(std::string_view text, size_t head) {
  text_ = text;
  words_.clear();
  if (!text.empty())
    words_.push_back({0, text.size(), std::min(head, text.size()), head > 0});
  for (const PipelineRecord &record : view_.preTokenizers())
    apply(record);
}

void PreTokenizer::apply(const PipelineRecord &record) {
  switch (record.step) {
  case PipelineStep::kSplitText: {
    std::string_view what = view_.string(record.a, record.b);
    return splitAt(record.c, [what](std::string_view rest) {
      return rest.starts_with(what) ? what.size() : size_t{0};
    });
  }
  case PipelineStep::kSplitMatch: {
    const AutomatonView &automaton = view_.automaton(record.a);
    return splitAt(record.b, [&automaton](std::string_view rest) { return automaton.match(rest); });
  }
  case PipelineStep::kSplitProperty:
    return splitProperty(record.a, record.b);
  case PipelineStep::kSplitWords:
    return splitWords();
  case PipelineStep::kMetaspace:
    return metaspace(record);
  default:
    return rewrite(record);
  }
}

/// Adds bytes [begin, end) of `word` as a word of its own.
void PreTokenizer::keep(const Word &word, size_t begin, size_t end) {
  if (begin == end)
    return;
  bool first = word.first && begin < word.head;
  newWords_.push_back(
      {word.begin + begin, word.begin + end, first ? std::min(word.head, end) - begin : 0, first});
}

template <typename Find> void PreTokenizer::split(uint32_t behavior, Find find) {
  newWords_.clear();
  for (const Word &word : words_) {
    matches_.clear();
    find(textOf(word));
    if ((behavior & plan::kSplitInverted) != 0)
      for (Match &match : matches_)
        match.matched = !match.matched;
    keepJoined(word, behavior & ~uint32_t{plan::kSplitInverted});
  }
  words_.swap(newWords_);
}

/// Keeps the parts that the matches of one word leave.
void PreTokenizer::keepJoined(const Word &word, uint32_t behavior) {
  if (behavior == plan::kSplitMergedWithNext) { // as "with previous", read from the end
    bool previous = false;
    size_t kept = matches_.size();
    for (size_t i = matches_.size(); i-- > 0; previous = matches_[i].matched) {
      if (matches_[i].matched && !previous && kept < matches_.size())
        matches_[kept].begin = matches_[i].begin;
      else
        matches_[--kept] = {matches_[i].begin, matches_[i].end, matches_[i].matched};
    }
    for (; kept < matches_.size(); ++kept)
      keep(word, matches_[kept].begin, matches_[kept].end);
    return;
  }
  bool previous = false, any = false;
  size_t begin = 0, end = 0;
  for (const Match &match : matches_) {
    if (behavior == plan::kSplitRemoved && match.matched)
      continue;
    bool joins = behavior == plan::kSplitContiguous           ? match.matched == previous
                 : behavior == plan::kSplitMergedWithPrevious ? match.matched && !previous
                                                              : false;
    if (joins && any) {
      end = match.end;
    } else {
      if (any)
        keep(word, begin, end);
      begin = match.begin, end = match.end, any = true;
    }
    previous = match.matched;
  }
  if (any)
    keep(word, begin, end);
}

/// `find(rest)` gives the bytes of a match at the start of `rest`, or 0.
template <typename Find> void PreTokenizer::splitAt(uint32_t behavior, Find find) {
  split(behavior, [&](std::string_view word) {
    size_t from = 0;
    for (size_t at = 0; at < word.size();) {
      size_t bytes = find(word.substr(at));
      if (bytes == 0) {
        at += std::max(base::decodeUtf8(word.substr(at)).bytes, 1U);
        continue;
      }
      if (from < at)
        matches_.push_back({from, at, false});
      matches_.push_back({at, at + bytes, true});
      from = at += bytes;
    }
    if (from < word.size())
      matches_.push_back({from, word.size(), false});
  });
}

void PreTokenizer::splitProperty(uint32_t properties, uint32_t behavior) {
  splitAt(behavior, [&](std::string_view rest) -> size_t {
    base::Utf8Char c = base::decodeUtf8(rest);
    return (view_.properties(c.codepoint) & properties) != 0 ? c.bytes : 0;
  });
}

/// \w+|[^\w\s]+
void PreTokenizer::splitWords() {
  auto kind = [this](char32_t code) {
    uint16_t has = view_.properties(code);
    return (has & plan::kPropertyWord) != 0 ? 2 : (has & plan::kPropertySpace) != 0 ? 0 : 1;
  };
  newWords_.clear();
  for (const Word &word : words_) {
    std::string_view text = textOf(word);
    size_t begin = 0;
    int current = 0;
    for (size_t at = 0; at < text.size();) {
      base::Utf8Char c = base::decodeUtf8(text.substr(at));
      int now = kind(c.codepoint);
      if (now != current) {
        if (current != 0)
          keep(word, begin, at);
        begin = at, current = now;
      }
      at += std::max(c.bytes, 1U);
    }
    if (current != 0)
      keep(word, begin, text.size());
  }
  words_.swap(newWords_);
}

void PreTokenizer::metaspace(const PipelineRecord &record) {
  std::string_view mark = view_.string(record.a, record.b);
  uint32_t scheme = record.c & ~uint32_t{plan::kMetaspaceSplits};
  newText_.clear();
  newWords_.clear();
  for (const Word &word : words_) {
    std::string_view text = textOf(word);
    size_t begin = newText_.size(), head = 0;
    bool marked = text.starts_with(' ') || text.starts_with(mark);
    bool wanted = scheme == plan::kPrefixAlways || (scheme == plan::kPrefixFirst && word.first);
    if (!marked && wanted)
      newText_ += mark;
    for (size_t i = 0; i < text.size(); ++i) {
      newText_.append(text[i] == ' ' ? mark : text.substr(i, 1));
      if (i < word.head)
        head = newText_.size() - begin;
    }
    newWords_.push_back({begin, newText_.size(), head, word.first});
  }
  text_.swap(newText_);
  words_.swap(newWords_);
  if ((record.c & plan::kMetaspaceSplits) != 0)
    splitAt(plan::kSplitMergedWithNext, [mark](std::string_view rest) {
      return rest.starts_with(mark) ? mark.size() : size_t{0};
    });
}

/// kPrefixSpace and kByteCharacters.
void PreTokenizer::rewrite(const PipelineRecord &record) {
  newText_.clear();
  for (Word &word : words_) {
    std::string_view text = textOf(word);
    size_t begin = newText_.size();
    if (record.step == PipelineStep::kByteCharacters) {
      appendByteCharacters(text.substr(0, word.head), newText_);
      size_t head = newText_.size() - begin;
      appendByteCharacters(text.substr(word.head), newText_);
      word.head = head;
    } else {
      bool adds = !text.starts_with(' ');
      newText_.append(adds ? " " : "").append(text);
      word.head += adds && word.head > 0 ? 1 : 0;
    }
    word.begin = begin, word.end = newText_.size();
  }
  text_.swap(newText_);
}

} // namespace platen::text
