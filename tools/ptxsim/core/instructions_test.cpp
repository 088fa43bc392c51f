// The runner of instruction tests, and the checks over all their rows: every opcode of the tables
// is executed, and NVIDIA's assembler takes every form that is.
#include "tools/ptxsim/core/instructions_testing.h"

#include "tools/ptxsim/core/lowering.h"
#include "tools/ptxsim/core/simulator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>

namespace platen::ptxsim::testing {
namespace {

constexpr size_t kMostCombinations = 2048, kThreads = 128;
constexpr uint64_t kMarker = 0xA5A5A5A5A5A5A5A5u;

struct Signature {
  std::string results, sources; // letters only
};
Signature signatureOf(const std::string &registers) {
  Signature s;
  bool isSource = false;
  for (char c : registers)
    if (c == '=')
      isSource = true;
    else if (c >= 'a' && c <= 'z')
      (isSource ? s.sources : s.results) += c;
  return s;
}
int bitsOf(char letter) {
  return letter == 'b' ? 8 : letter == 'h' ? 16 : letter == 'r' ? 32 : letter == 'd' ? 64 : 1;
}
uint64_t cut(uint64_t value, char letter) {
  return letter == 'd' ? value : value & ((uint64_t{1} << bitsOf(letter)) - 1);
}
std::string typeOf(char letter) {
  return letter == 'p' ? "pred" : "b" + std::to_string(bitsOf(letter));
}

/// The values of all sources, one row after the other, padded to whole blocks.
std::vector<Values> combinations(const Case &c, const Signature &s) {
  size_t product = 1;
  for (const Values &values : c.sources)
    product = std::min(product * values.size(), kMostCombinations * 1000);
  if (c.together)
    product = c.sources[0].size();
  size_t count = std::min(product, kMostCombinations);
  size_t padded = (count + kThreads - 1) / kThreads * kThreads;
  std::vector<Values> columns(c.sources.size(), Values(padded));
  std::mt19937_64 random(7);
  for (size_t n = 0; n < padded; ++n) {
    size_t rest = n % product;
    for (size_t k = 0; k < columns.size(); ++k) {
      const Values &values = c.sources[k];
      size_t pick = product > count ? random() % values.size() : rest % values.size();
      rest /= c.together ? 1 : values.size();
      columns[k][n] = cut(values[pick], s.sources[k]);
    }
  }
  return columns;
}

/// The operands as PTX text, results named `result`0, `result`1 …
std::string operandText(const Case &c, char result) {
  std::string text;
  int results = 0, sources = 0;
  bool isSource = false, first = true, inVector = false;
  for (char letter : c.registers) {
    if (letter == '=') {
      isSource = true, first = false;
      continue;
    }
    if (letter == '{' || letter == '}' || letter == '|') {
      if (letter == '{')
        text += isSource ? ", {" : "{";
      else
        text += letter;
      inVector = letter == '{' || (inVector && letter != '}');
      first = true;
      continue;
    }
    bool comma = inVector ? !first : isSource;
    if (isSource && c.before != 0 && sources == c.before)
      text += c.tail;
    text += comma ? ", " : "";
    text += isSource ? "i" + std::to_string(sources++) : result + std::to_string(results++);
    first = false;
  }
  return c.before == 0 ? text + c.tail : text;
}

std::string kernelText(const Case &c, size_t number, size_t count) {
  Signature s = signatureOf(c.registers);
  std::string text = ".visible .entry k" + std::to_string(number) +
                     "(.param .u64 sources, .param .u64 results)\n{\n"
                     ".reg .b64 from, to, offset; .reg .b32 t, block, n, w; .reg .pred even;\n";
  auto line = [&](const std::string &l) { text += "  " + l + ";\n"; };
  for (size_t k = 0; k < s.results.size(); ++k)
    line(".reg ." + typeOf(s.results[k]) + " o" + std::to_string(k) + ", g" + std::to_string(k));
  for (size_t k = 0; k < s.sources.size(); ++k)
    line(".reg ." + typeOf(s.sources[k]) + " i" + std::to_string(k));
  line("ld.param.u64 from, [sources]"), line("ld.param.u64 to, [results]");
  line("mov.u32 t, %tid.x"), line("mov.u32 block, %ctaid.x"), line("mov.u32 n, %ntid.x");
  line("mad.lo.u32 t, block, n, t"), line("mul.wide.u32 offset, t, 8");
  line("add.u64 from, from, offset"), line("add.u64 to, to, offset");
  line("and.b32 w, t, 1"), line("setp.eq.u32 even, w, 0");
  for (size_t k = 0; k < s.sources.size(); ++k) {
    std::string at = "[from+" + std::to_string(k * count * 8) + "]", name = "i" + std::to_string(k);
    if (s.sources[k] == 'p')
      line("ld.global.b32 w, " + at), line("setp.ne.u32 " + name + ", w, 0");
    else
      line("ld.global." + typeOf(s.sources[k]) + " " + name + ", " + at);
  }
  for (size_t k = 0; k < s.results.size(); ++k) {
    std::string name = "g" + std::to_string(k);
    if (s.results[k] == 'p')
      line("setp.eq.u32 " + name + ", w, w");
    else if (s.results[k] == 'b')
      line("cvt.u8.u32 " + name + ", 0xA5");
    else
      line(
          "mov." + typeOf(s.results[k]) + " " + name + ", 0x" +
          std::string("A5A5A5A5A5A5A5A5").substr(0, static_cast<size_t>(bitsOf(s.results[k]) / 4)));
  }
  bool guarded = c.text.empty();
  line(guarded ? c.opcode + " " + operandText(c, 'o') : c.text);
  if (guarded)
    line("@even " + c.opcode + " " + operandText(c, 'g'));
  for (int pass = 0; pass < (guarded ? 2 : 1); ++pass)
    for (size_t k = 0; k < s.results.size(); ++k) {
      std::string name = (pass == 0 ? "o" : "g") + std::to_string(k);
      size_t slot = static_cast<size_t>(pass) * s.results.size() + k;
      std::string at = "[to+" + std::to_string(slot * count * 8) + "]";
      if (s.results[k] == 'p')
        line("selp.b32 w, 1, 0, " + name), line("st.global.b32 " + at + ", w");
      else
        line("st.global." + typeOf(s.results[k]) + " " + at + ", " + name);
    }
  return text + "  ret;\n}\n";
}

std::string hexadecimal(uint64_t value) {
  char text[20];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

/// Runs one row; the results of pass 0 (all lanes), then of pass 1 (even lanes).
std::vector<Values> execute(const LoadedModule &module, Memory &memory, const std::string &kernel,
                            const std::vector<Values> &sources, size_t results, std::string &why) {
  size_t count = sources[0].size(), passes = 2;
  uint64_t from = *memory.allocate(std::max<size_t>(sources.size(), 1) * count * 8, 0);
  uint64_t to = *memory.allocate(results * passes * count * 8, 0);
  for (size_t k = 0; k < sources.size(); ++k)
    EXPECT_TRUE(memory.write(from + k * count * 8, sources[k].data(), count * 8).isOk());
  EXPECT_TRUE(memory.fill(to, 0, results * passes * count * 8).isOk());
  uint64_t parameters[2] = {from, to};
  Launch launch;
  launch.kernel = kernel;
  launch.grid.x = static_cast<uint32_t>(count / kThreads), launch.block.x = kThreads;
  launch.parameters = std::as_bytes(std::span(parameters));
  Options options;
  options.threads = 1;
  auto report = run(module, memory, launch, options);
  if (!report.isOk())
    why = report.status().toString();
  else if (report->violation)
    why = report->violation->toString();
  std::vector<Values> got(results * passes, Values(count));
  for (size_t k = 0; k < got.size(); ++k)
    EXPECT_TRUE(memory.read(to + k * count * 8, got[k].data(), count * 8).isOk());
  EXPECT_TRUE(memory.free(from).isOk());
  EXPECT_TRUE(memory.free(to).isOk());
  return got;
}

void compare(const Case &c, const Signature &s, const std::vector<Values> &sources,
             const std::vector<Values> &got) {
  size_t results = s.results.size(), shown = 0;
  for (size_t n = 0; n < sources[0].size() && shown < 4; ++n) {
    uint64_t in[8] = {}, wanted[8] = {}, found[8] = {};
    for (size_t k = 0; k < sources.size(); ++k)
      in[k] = sources[k][n];
    for (size_t k = 0; k < results; ++k)
      found[k] = got[k][n];
    bool right = true;
    if (c.accepts) {
      right = c.accepts(in, found);
    } else {
      c.expected(in, wanted);
      for (size_t k = 0; k < results; ++k)
        right &= cut(wanted[k], s.results[k]) == found[k];
    }
    std::string line = c.opcode + " (" + c.registers + c.tail + ") of";
    for (size_t k = 0; k < sources.size(); ++k)
      line += " " + hexadecimal(in[k]);
    if (!right) {
      for (size_t k = 0; k < results; ++k)
        line += (c.accepts ? "; got "
                           : "; wanted " + hexadecimal(cut(wanted[k], s.results[k])) + ", got ") +
                hexadecimal(found[k]);
      ADD_FAILURE() << line;
      ++shown;
    }
    for (size_t k = 0; k < results && c.text.empty(); ++k) {
      uint64_t marker = s.results[k] == 'p' ? 1 : cut(kMarker, s.results[k]);
      if (got[results + k][n] != (n % 2 == 0 ? found[k] : marker)) {
        ADD_FAILURE() << line << "; under a guard: " << hexadecimal(got[results + k][n]);
        ++shown;
      }
    }
  }
}

} // namespace

Case simple(std::string opcode, std::string registers, std::vector<Values> sources,
            std::function<uint64_t(const uint64_t *in)> expected, std::string tail) {
  Case c;
  c.opcode = std::move(opcode), c.registers = std::move(registers);
  c.sources = std::move(sources), c.tail = std::move(tail);
  c.expected = [f = std::move(expected)](const uint64_t *in, uint64_t *out) { out[0] = f(in); };
  return c;
}

std::string moduleText(const std::vector<Case> &cases) {
  std::string text = ".version 9.0\n.target sm_100a\n.address_size 64\n";
  for (size_t n = 0; n < cases.size(); ++n) {
    Signature s = signatureOf(cases[n].registers);
    text += kernelText(cases[n], n, combinations(cases[n], s)[0].size());
  }
  return text;
}

void runCases(const std::vector<Case> &cases) {
  auto parsed = Module::parse(moduleText(cases));
  ASSERT_TRUE(parsed.isOk()) << parsed.status().toString();
  Memory memory;
  auto loaded = LoadedModule::load(*parsed, memory, 0);
  ASSERT_TRUE(loaded.isOk()) << loaded.status().toString();
  for (size_t n = 0; n < cases.size(); ++n) {
    const Case &c = cases[n];
    std::string kernel = "k" + std::to_string(n);
    const KernelInfo *info = (*parsed)->kernel(kernel);
    ASSERT_NE(info, nullptr) << kernel;
    for (const Refusal &refusal : info->refusals)
      ADD_FAILURE() << refusal.toString();
    if (!info->refusals.empty())
      continue;
    Signature s = signatureOf(c.registers);
    std::vector<Values> sources = combinations(c, s);
    std::string why;
    std::vector<Values> got = execute(**loaded, memory, kernel, sources, s.results.size(), why);
    EXPECT_EQ(why, "") << c.opcode;
    if (why.empty())
      compare(c, s, sources, got);
  }
}

Values wholeNumbers(int bits) {
  std::set<uint64_t> values;
  uint64_t mask = bits == 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
  for (int n = 0; n < bits; n += bits / 16)
    for (uint64_t near : {~uint64_t{0}, uint64_t{0}, uint64_t{1}})
      values.insert(((uint64_t{1} << n) + near) & mask),
          values.insert((0 - (uint64_t{1} << n) + near) & mask);
  uint64_t top = uint64_t{1} << (bits - 1);
  for (uint64_t v : {uint64_t{0}, top, top - 1, top + 1, mask, uint64_t{0x123456789ABCDEF0u} & mask,
                     uint64_t{0xFEDCBA9876543210u} & mask, uint64_t{0x5555555555555555u} & mask})
    values.insert(v);
  return {values.begin(), values.end()};
}
Values few(int bits) {
  uint64_t mask = bits == 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
  uint64_t top = uint64_t{1} << (bits - 1);
  return {0,
          1,
          2,
          7,
          mask,
          mask - 1,
          top,
          top - 1,
          top + 1,
          0x123456789ABCDEF0u & mask,
          0xFEDCBA9876543210u & mask,
          0x00FF00FF00FF00FFu & mask,
          mask - 100};
}
Values shiftAmounts() {
  return {0,  1,  2,  7,  8,  15,  16,  17,  24,  31,  32,          33,
          47, 48, 63, 64, 65, 127, 128, 255, 256, 300, 0x80000000u, 0xFFFFFFFFu};
}
Values fewFloats(const Binary &f) {
  uint64_t one = static_cast<uint64_t>(f.bias()) << f.mantissaBits,
           unit = uint64_t{1} << f.mantissaBits;
  Values positive{0,
                  1,
                  unit - 1,
                  unit,
                  one,
                  one + 1,
                  one - 1,
                  one + unit / 2,
                  one + 3 * unit + 3,
                  f.largest(),
                  f.infinity(),
                  f.nan,
                  one + static_cast<uint64_t>(f.mantissaBits) * unit + 1,
                  one - static_cast<uint64_t>(f.mantissaBits + 1) * unit};
  Values values;
  for (uint64_t v : positive)
    values.push_back(v), values.push_back(v | f.signBit());
  return values;
}
Values floats(const Binary &f) {
  Values values = fewFloats(f);
  uint64_t one = static_cast<uint64_t>(f.bias()) << f.mantissaBits,
           unit = uint64_t{1} << f.mantissaBits;
  for (uint64_t v :
       {uint64_t{2}, uint64_t{3}, unit / 2, unit + 1, 2 * unit, one + unit, one + 2 * unit,
        one + unit + 1, one - unit, one - unit / 2, f.largest() - 1, f.largest() - unit,
        f.infinity() + 1, one + unit / 3, one + 5 * unit + unit / 7})
    values.push_back(v), values.push_back(v | f.signBit());
  std::mt19937_64 random(11);
  for (int n = 0; n < 16; ++n)
    values.push_back(random() & (2 * f.signBit() - 1));
  return values;
}

namespace {

std::vector<Case> allCases() {
  std::vector<Case> all;
  for (const std::vector<Case> &cases :
       {integerCases(), bitCases(), compareCases(), floatCases(), halfCases(), approximateCases(),
        convertCases(), moveCases()})
    all.insert(all.end(), cases.begin(), cases.end());
  return all;
}

TEST(Instructions, EveryOpcodeOfTheTablesIsExecuted) {
  std::set<std::string> forms, opcodes;
  for (const Case &c : allCases())
    forms.insert(c.opcode);
  for (const std::string &form : warpOpcodes())
    forms.insert(form);
  for (const std::string &form : forms)
    opcodes.insert(form.substr(0, form.find('.')));
  size_t registered = 0;
  for (std::span<const Form> table : {integerForms(), floatForms(), convertForms(), warpForms()})
    for (const Form &form : table) {
      bool isVideo = form.opcode[0] == 'v' && form.opcode != "vote"; // refused by name
      registered += !isVideo;
      EXPECT_TRUE(isVideo || opcodes.count(std::string(form.opcode))) << form.opcode;
    }
  EXPECT_GE(forms.size(), 600u);
  std::printf("%zu forms of %zu opcodes are executed; %zu opcodes are in the tables\n",
              forms.size(), opcodes.size(), registered);
}

TEST(Instructions, TheAssemblerTakesEveryFormThatIsExecuted) {
  const char *assembler = "/usr/local/cuda/bin/ptxas";
  if (!std::filesystem::exists(assembler))
    GTEST_SKIP() << "no ptxas";
  std::vector<Case> cases = allCases();
  // Narrow formats made of bf16x2, and e2m3x2 and e3m2x2 of f16x2, came after PTX 9.0.
  auto isNewer = [](const Case &c) {
    bool fromBf16 = c.opcode.ends_with("x2.bf16x2") && c.opcode.find("cvt") == 0 &&
                    c.opcode.find("ue8m0") == std::string::npos;
    return fromBf16 || c.opcode.ends_with("e2m3x2.f16x2") || c.opcode.ends_with("e3m2x2.f16x2");
  };
  std::erase_if(cases, [&](const Case &c) { return !c.text.empty() || isNewer(c); });
  auto folder = std::filesystem::temp_directory_path() /
                ("ptxsim_forms_" + std::to_string(std::random_device()()));
  std::filesystem::create_directories(folder);
  // One line a form, without values: quick to assemble.
  std::ofstream out(folder / "forms.ptx");
  out << ".version 9.0\n.target sm_100a\n.address_size 64\n.visible .entry k() {\n";
  std::set<std::string> lines;
  for (const Case &c : cases) {
    Signature s = signatureOf(c.registers);
    std::string line = "{ ";
    for (size_t k = 0; k < s.results.size(); ++k)
      line += ".reg ." + typeOf(s.results[k]) + " o" + std::to_string(k) + "; ";
    for (size_t k = 0; k < s.sources.size(); ++k)
      line += ".reg ." + typeOf(s.sources[k]) + " i" + std::to_string(k) + "; ";
    lines.insert(line + c.opcode + " " + operandText(c, 'o') + "; }\n");
  }
  for (const std::string &line : lines)
    out << line;
  out << "ret; }\n";
  out.close();
  std::string command =
      std::string(assembler) + " -O0 -arch=sm_100a " + (folder / "forms.ptx").string() + " -o " +
      (folder / "forms.cubin").string() + " > " + (folder / "log").string() + " 2>&1";
  int code = std::system(command.c_str());
  std::ifstream log(folder / "log");
  std::string text((std::istreambuf_iterator<char>(log)), std::istreambuf_iterator<char>());
  EXPECT_EQ(code, 0) << text.substr(0, 4000);
  std::filesystem::remove_all(folder);
}

} // namespace
} // namespace platen::ptxsim::testing
