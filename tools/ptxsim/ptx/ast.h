// What a PTX text says, before anything is known of what its instructions mean.
//
// Names and instruction texts are views into the module's own copy of the text. Code is flat: each
// function holds one list of instructions in text order; a label is an index into it. Registers and
// variables live in scopes (inline assembly opens them), found by walking towards the root.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace platen::ptxsim::ptx {

/// The fundamental types; kB4x16 and the like do not occur outside of tensor instructions.
enum class Type : uint8_t {
  kNone,
  kPred,
  kB8,
  kB16,
  kB32,
  kB64,
  kB128,
  kU8,
  kU16,
  kU32,
  kU64,
  kS8,
  kS16,
  kS32,
  kS64,
  kF16,
  kF16x2,
  kBF16,
  kBF16x2,
  kTF32,
  kF32,
  kF64,
  kE4M3,
  kE5M2,
  kE4M3x2,
  kE5M2x2,
  kE2M1x2,
  kU8x4,
  kS8x4,
};
/// kNone where `name` (without the dot) is no type.
Type typeFromName(std::string_view name);
uint32_t bitsOf(Type type); // kPred: 1
bool isSigned(Type type);
bool isFloat(Type type);

struct Operand {
  enum class Kind : uint8_t {
    kName,    // register, variable, label or special register
    kInteger, // bits
    kFloat32, // bits: an IEEE single, as 0f… writes it
    kFloat64, // bits: an IEEE double, 0d… or a decimal float
    kVector,  // {a, b, …}: elements
    kAddress, // [base + offset] or [base, {c0, c1}, …]: elements[0] is the base
    kPair,    // p|q: elements
    kList,    // (a, b) of a call: elements
  };
  Kind kind = Kind::kName;
  bool negated = false; // !p, or - before a name
  std::string_view name;
  uint64_t bits = 0;
  int64_t offset = 0; // bytes, of kAddress
  std::vector<Operand> elements;
};

struct Instruction {
  uint32_t line = 0, scope = 0;
  bool guardNegated = false;
  std::string_view guard;              // predicate name; empty: none
  std::string_view opcode;             // e.g. "ld.global.v2.f32"
  std::vector<std::string_view> parts; // opcode cut at its dots: "ld", "global", "v2", "f32"
  std::string_view text;               // from guard to before the semicolon
  std::vector<Operand> operands;
};

enum class Space : uint8_t { kReg, kGlobal, kShared, kConst, kLocal, kParam };

struct Initialiser {
  enum class Kind : uint8_t { kBits, kSymbol } kind = Kind::kBits;
  uint64_t bits = 0; // kBits: the element; kSymbol: added to the address
  std::string_view symbol;
};

/// A variable or parameter; for an array `count` elements (0: unsized, extern .shared).
struct Variable {
  Space space{};
  Type type{};
  std::string_view name;
  uint32_t line = 0, vector = 1;
  uint64_t count = 1, alignment = 1; // alignment in bytes, the natural one if none is written
  bool isArray = false, isExternal = false;
  std::vector<Initialiser> initialisers; // shorter than count: zeros follow
  uint64_t bytes() const { return count * vector * ((bitsOf(type) + 7) / 8); }
};

struct Register {
  Type type{};
  uint32_t count = 0; // of a range %r<count>; 0: a single register
};

struct Scope {
  uint32_t parent = 0;                                      // its own index for the root
  std::unordered_map<std::string_view, Register> registers; // ranges by their prefix
  std::unordered_map<std::string_view, uint32_t> variables; // index into Function::variables
  std::unordered_map<std::string_view, uint32_t> labels;    // index into Function::instructions
};

/// `table: .branchtargets a, b;`
struct BranchTable {
  uint32_t scope = 0;
  std::vector<std::string_view> labels;
};

struct Function {
  std::string_view name;
  uint32_t line = 0;
  bool isEntry = false, hasBody = false;
  std::vector<Variable> parameters, results;
  std::vector<Variable> variables; // .shared, .local, .param, .const inside the body
  std::vector<Scope> scopes;       // [0] is the function's own
  std::vector<Instruction> instructions;
  std::unordered_map<std::string_view, BranchTable> tables;
  uint32_t maxThreads[3] = {0, 0, 0}, requiredThreads[3] = {0, 0, 0}, cluster[3] = {0, 0, 0};
};

struct Module {
  std::string text; // owns what every view points at; never moves after parsing
  int version = 0;  // major * 10 + minor
  std::string_view target;
  uint32_t addressBits = 64;
  std::vector<Variable> variables;
  std::vector<Function> functions;
};

} // namespace platen::ptxsim::ptx
