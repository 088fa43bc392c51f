// Tree to a program of classes and ordered splits, program to an automaton whose states are ordered
// lists of places in the program, so that the priorities of backtracking survive. Assertions about
// the next character are settled when that character is read.
#include "compiler/tokenizer/pattern.h"

#include <algorithm>
#include <map>

#include "compiler/tokenizer/pattern_parser.h"

namespace platen::compiler {

using base::Result;
using base::Status;

namespace {

constexpr uint32_t kMaxProgram = 20000, kMaxStates = 8192, kMaxClasses = 255;

struct Instruction {
  enum Kind : uint8_t { kSet, kAhead, kSplit, kMatch } kind = kMatch;
  uint32_t set = 0;                     // kSet, kAhead
  bool negative = false, orEnd = false; // kAhead
  uint32_t next = 0, other = 0;         // kSplit prefers next
};

/// The program of a tree, and its sets.
struct Program {
  std::vector<Instruction> code;
  std::vector<CodeSet> sets;
};

class Assembler {
public:
  /// False: the pattern is too large.
  bool run(const PatternNode &node, Program &program) {
    uint32_t match = emit({});
    start_ = build(node, match);
    program.code = std::move(code_), program.sets = std::move(sets_);
    return !full_;
  }
  uint32_t start() const { return start_; }

private:
  uint32_t emit(Instruction instruction) {
    full_ |= code_.size() >= kMaxProgram;
    if (!full_)
      code_.push_back(instruction);
    return static_cast<uint32_t>(code_.size() - 1);
  }
  uint32_t setIndex(const CodeSet &set) {
    for (uint32_t i = 0; i < sets_.size(); ++i)
      if (sets_[i].ranges() == set.ranges())
        return i;
    sets_.push_back(set);
    return static_cast<uint32_t>(sets_.size() - 1);
  }
  /// Code that matches `node` and goes on at `next`.
  uint32_t build(const PatternNode &node, uint32_t next) {
    if (full_)
      return next;
    switch (node.kind) {
    case PatternNode::kSet:
      return emit({Instruction::kSet, setIndex(node.set), false, false, next, 0});
    case PatternNode::kAhead:
      return emit({Instruction::kAhead, setIndex(node.set), node.negative, node.orEnd, next, 0});
    case PatternNode::kSequence:
      for (size_t i = node.children.size(); i-- > 0;)
        next = build(node.children[i], next);
      return next;
    case PatternNode::kEither: {
      uint32_t either = build(node.children.back(), next);
      for (size_t i = node.children.size() - 1; i-- > 0;)
        either =
            emit({Instruction::kSplit, 0, false, false, build(node.children[i], next), either});
      return either;
    }
    case PatternNode::kRepeat:
      return buildRepeat(node, next);
    }
    return next;
  }
  uint32_t split(uint32_t body, uint32_t skip, bool lazy) {
    return emit({Instruction::kSplit, 0, false, false, lazy ? skip : body, lazy ? body : skip});
  }
  uint32_t buildRepeat(const PatternNode &node, uint32_t next) {
    const PatternNode &body = node.children[0];
    uint32_t at = next;
    if (node.most == UINT32_MAX) {
      uint32_t loop = split(0, 0, node.lazy);
      uint32_t begin = build(body, loop);
      if (!full_)
        (node.lazy ? code_[loop].other : code_[loop].next) = begin,
                                         (node.lazy ? code_[loop].next : code_[loop].other) = next;
      at = loop;
    } else {
      for (uint32_t i = node.least; i < node.most && !full_; ++i)
        at = split(build(body, at), next, node.lazy);
    }
    for (uint32_t i = 0; i < node.least && !full_; ++i)
      at = build(body, at);
    return at;
  }

  std::vector<Instruction> code_;
  std::vector<CodeSet> sets_;
  uint32_t start_ = 0;
  bool full_ = false;
};

/// Splits all characters into classes that no set of the program tells apart; class 0 is the end.
class Classes {
public:
  explicit Classes(const std::vector<CodeSet> &sets) : of_(kCodePoints, 0) {
    std::vector<uint32_t> cuts{0, kCodePoints};
    for (const CodeSet &set : sets)
      for (auto [first, last] : set.ranges())
        cuts.push_back(first), cuts.push_back(last + 1);
    std::sort(cuts.begin(), cuts.end());
    cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
    std::map<std::vector<bool>, uint32_t> known;
    members_.assign(sets.size(), {false}); // none holds the end
    for (size_t i = 0; i + 1 < cuts.size(); ++i) {
      std::vector<bool> in(sets.size());
      for (size_t s = 0; s < sets.size(); ++s)
        in[s] = sets[s].contains(cuts[i]);
      auto [at, isNew] = known.emplace(in, count_);
      if (isNew) {
        ++count_;
        for (size_t s = 0; s < sets.size(); ++s)
          members_[s].push_back(in[s]);
      }
      std::fill(of_.begin() + cuts[i], of_.begin() + cuts[i + 1], at->second);
    }
  }
  uint32_t count() const { return count_; }
  bool has(uint32_t set, uint32_t cls) const { return members_[set][cls]; }
  uint32_t of(uint32_t code) const { return of_[code]; }

private:
  std::vector<uint32_t> of_;
  std::vector<std::vector<bool>> members_;
  uint32_t count_ = 1;
};

/// Subset construction over ordered lists.
class Automaton {
public:
  Automaton(const Program &program, const Classes &classes)
      : program_(program), classes_(classes), seen_(program.code.size(), 0),
        added_(program.code.size(), 0) {}

  /// False: too many states.
  bool run(uint32_t start, CompiledPattern &out) {
    out.classes = classes_.count();
    states_[{}] = 0;
    lists_ = {{}, {start}};
    states_[{start}] = 1;
    for (uint32_t state = 0; state < lists_.size(); ++state) {
      if (lists_.size() > kMaxStates)
        return false;
      for (uint32_t cls = 0; cls < classes_.count(); ++cls)
        out.transitions.push_back(step(state, cls));
    }
    out.states = static_cast<uint32_t>(lists_.size());
    return true;
  }

private:
  uint16_t step(uint32_t state, uint32_t cls) {
    ++round_;
    next_.clear();
    matched_ = false;
    std::vector<uint32_t> list = lists_[state];
    for (uint32_t place : list)
      if (!matched_)
        explore(place, cls);
    auto [at, isNew] = states_.emplace(next_, static_cast<uint32_t>(lists_.size()));
    if (isNew)
      lists_.push_back(next_);
    return static_cast<uint16_t>(at->second | (matched_ ? plan::kAutomatonMatch : 0U));
  }
  /// Follows what consumes nothing from `place` when a character of `cls` comes next, best first;
  /// stops at a match, behind which nothing counts.
  void explore(uint32_t place, uint32_t cls) {
    std::vector<uint32_t> stack{place};
    while (!stack.empty() && !matched_) {
      uint32_t at = stack.back();
      stack.pop_back();
      if (seen_[at] == round_)
        continue;
      seen_[at] = round_;
      const Instruction &in = program_.code[at];
      if (in.kind == Instruction::kMatch) {
        matched_ = true;
      } else if (in.kind == Instruction::kSplit) {
        stack.push_back(in.other);
        stack.push_back(in.next);
      } else if (in.kind == Instruction::kAhead) {
        if (cls == 0 ? in.orEnd : classes_.has(in.set, cls) != in.negative)
          stack.push_back(in.next);
      } else if (classes_.has(in.set, cls) && added_[in.next] != round_) {
        added_[in.next] = round_;
        next_.push_back(in.next);
      }
    }
  }

  const Program &program_;
  const Classes &classes_;
  std::vector<uint32_t> seen_, added_; // the round in which a place was met
  uint32_t round_ = 0;
  std::vector<uint32_t> next_;
  bool matched_ = false;
  std::map<std::vector<uint32_t>, uint32_t> states_;
  std::vector<std::vector<uint32_t>> lists_;
};

void layOut(const Classes &classes, CompiledPattern &out) {
  std::map<std::array<uint8_t, 256>, uint16_t> known;
  for (uint32_t page = 0; page < plan::kCodepointPages; ++page) {
    std::array<uint8_t, 256> block;
    for (uint32_t i = 0; i < 256; ++i)
      block[i] = static_cast<uint8_t>(classes.of(page * 256 + i));
    auto [at, isNew] = known.emplace(block, static_cast<uint16_t>(out.blocks.size()));
    if (isNew)
      out.blocks.push_back(block);
    out.pages.push_back(at->second);
  }
}

} // namespace

Result<CompiledPattern> compilePattern(std::string_view pattern) {
  PLATEN_ASSIGN_OR_RETURN(PatternNode tree, parsePattern(pattern));
  auto refuse = [&](const std::string &why) {
    return base::unsupported("regular expression '" + std::string(pattern) + "' " + why +
                             "; platen's tokenizers do not implement that");
  };
  Program program;
  Assembler assembler;
  if (!assembler.run(tree, program))
    return refuse("is too large");
  Classes classes(program.sets);
  if (classes.count() > kMaxClasses)
    return refuse("tells too many kinds of characters apart");
  CompiledPattern out;
  if (!Automaton(program, classes).run(assembler.start(), out))
    return refuse("needs more than " + std::to_string(kMaxStates) + " states");
  for (uint32_t cls = 0; cls < out.classes; ++cls)
    if ((out.transitions[out.classes + cls] & plan::kAutomatonMatch) != 0)
      return refuse("matches the empty text");
  layOut(classes, out);
  return out;
}

} // namespace platen::compiler
