#include "tools/ptxsim/driver/cubin.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <elf.h>

namespace platen::ptxsim::driver {
namespace {

constexpr uint16_t kMachineCuda = 190;
constexpr uint8_t kOsAbiOld = 0x33, kOsAbiNew = 0x41; // ABI versions up to 7, and from 8
constexpr uint8_t kEntryPoint = 0x10;                 // st_other of a kernel
constexpr size_t kReservedShared = 1024; // what the system takes of .nv.shared from sm_90 on

base::Status corrupt(const std::string &what) { return base::corrupt("cubin: " + what); }

struct File {
  std::span<const std::byte> bytes;
  Elf64_Ehdr header{};
  std::vector<Elf64_Shdr> sections;

  base::Result<std::span<const std::byte>> contents(const Elf64_Shdr &section) const {
    if (section.sh_type == SHT_NOBITS)
      return std::span<const std::byte>();
    if (section.sh_offset > bytes.size() || section.sh_size > bytes.size() - section.sh_offset)
      return corrupt("a section lies outside of the file");
    return bytes.subspan(section.sh_offset, section.sh_size);
  }
};

std::string_view stringAt(std::span<const std::byte> table, size_t offset) {
  if (offset >= table.size())
    return {};
  const char *begin = reinterpret_cast<const char *>(table.data()) + offset;
  return {begin, strnlen(begin, table.size() - offset)};
}

base::Result<File> open(std::span<const std::byte> bytes) {
  File file{bytes, {}, {}};
  if (bytes.size() < sizeof file.header)
    return corrupt("shorter than an ELF header");
  std::memcpy(&file.header, bytes.data(), sizeof file.header);
  const Elf64_Ehdr &h = file.header;
  if (std::memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 || h.e_ident[EI_CLASS] != ELFCLASS64 ||
      h.e_ident[EI_DATA] != ELFDATA2LSB)
    return corrupt("no 64-bit little-endian ELF file");
  if (h.e_machine != kMachineCuda)
    return corrupt("ELF machine " + std::to_string(h.e_machine) + " is not CUDA (190)");
  if (h.e_ident[EI_OSABI] != kOsAbiOld && h.e_ident[EI_OSABI] != kOsAbiNew)
    return corrupt("unknown ELF ABI " + std::to_string(h.e_ident[EI_OSABI]));
  if (h.e_type != ET_EXEC)
    return base::unsupported("cubin: relocatable code must be linked first");
  if (h.e_shentsize != sizeof(Elf64_Shdr) || h.e_shoff > bytes.size() ||
      size_t{h.e_shnum} * sizeof(Elf64_Shdr) > bytes.size() - h.e_shoff)
    return corrupt("the section table lies outside of the file");
  file.sections.resize(h.e_shnum);
  if (h.e_shnum)
    std::memcpy(file.sections.data(), bytes.data() + h.e_shoff,
                file.sections.size() * sizeof(Elf64_Shdr));
  return file;
}

/// Calls `visit(attribute, value, payload)` for the records of .nv.info and .nv.compat: format,
/// attribute, 16-bit value; in format 4 the value is the size of a payload that follows.
template <class Visit> void eachRecord(std::span<const std::byte> section, Visit visit) {
  for (size_t at = 0; at + 4 <= section.size();) {
    auto format = static_cast<uint8_t>(section[at]);
    uint16_t value;
    std::memcpy(&value, section.data() + at + 2, sizeof value);
    size_t payload = format == 4 ? std::min<size_t>(value, section.size() - at - 4) : 0;
    visit(static_cast<uint8_t>(section[at + 1]), value, section.subspan(at + 4, payload));
    at += 4 + payload;
  }
}

/// The suffix that .nv.compat records: attribute 9 is 1 for 'a'. Family code ('f') looks like plain
/// code, and runs where plain code runs: on its own and later members of the major version.
char suffixOf(std::span<const std::byte> compat) {
  char suffix = 0;
  eachRecord(compat, [&](uint8_t attribute, uint16_t value, auto) {
    if (attribute == 9)
      suffix = value == 1 ? 'a' : '\0';
  });
  return suffix;
}

Architecture architectureOf(const File &file, std::span<const std::byte> compat) {
  uint32_t flags = file.header.e_flags;
  if (file.header.e_ident[EI_OSABI] == kOsAbiOld)
    return {static_cast<int>(flags & 0xFF), flags & 0x800 ? 'a' : '\0'};
  char suffix = suffixOf(compat);
  return {static_cast<int>(flags >> 8 & 0xFF), !suffix && (flags & 8) ? 'a' : suffix};
}

/// .nv.info, attribute 0x2f: symbol and registers. Before sm_90 also in the code section's header.
int registersOf(std::span<const std::byte> info, size_t symbol, const Elf64_Shdr &code) {
  auto registers = static_cast<int>(code.sh_info >> 24);
  eachRecord(info, [&](uint8_t attribute, uint16_t, std::span<const std::byte> payload) {
    uint32_t pair[2];
    if (attribute == 0x2F && payload.size() == sizeof pair) {
      std::memcpy(pair, payload.data(), sizeof pair);
      if (pair[0] == symbol)
        registers = static_cast<int>(pair[1]);
    }
  });
  return registers;
}

base::Status readKernels(const File &file, std::span<const std::byte> names,
                         std::span<const std::byte> info, Cubin &cubin) {
  for (const Elf64_Shdr &table : file.sections) {
    if (table.sh_type != SHT_SYMTAB || table.sh_link >= file.sections.size())
      continue;
    PLATEN_ASSIGN_OR_RETURN(auto symbols, file.contents(table));
    PLATEN_ASSIGN_OR_RETURN(auto strings, file.contents(file.sections[table.sh_link]));
    for (size_t at = 0; at + sizeof(Elf64_Sym) <= symbols.size(); at += sizeof(Elf64_Sym)) {
      Elf64_Sym symbol;
      std::memcpy(&symbol, symbols.data() + at, sizeof symbol);
      if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || !(symbol.st_other & kEntryPoint) ||
          symbol.st_shndx >= file.sections.size())
        continue;
      CubinKernel kernel;
      kernel.name = stringAt(strings, symbol.st_name);
      kernel.codeBytes = symbol.st_size;
      kernel.registers = registersOf(info, at / sizeof(Elf64_Sym), file.sections[symbol.st_shndx]);
      cubin.kernels.push_back(std::move(kernel));
    }
  }
  for (const Elf64_Shdr &section : file.sections)
    for (CubinKernel &kernel : cubin.kernels)
      if (stringAt(names, section.sh_name) == ".nv.shared." + kernel.name)
        kernel.sharedBytes =
            section.sh_size - (cubin.architecture.number >= 90 && section.sh_size >= kReservedShared
                                   ? kReservedShared
                                   : 0);
  return {};
}

} // namespace

const CubinKernel *Cubin::kernel(std::string_view name) const {
  auto it = std::find_if(kernels.begin(), kernels.end(), [&](auto &k) { return k.name == name; });
  return it == kernels.end() ? nullptr : &*it;
}

base::Result<size_t> elfBytes(const void *bytes) {
  Elf64_Ehdr h;
  std::memcpy(&h, bytes, sizeof h);
  if (std::memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 || h.e_shoff > (uint64_t{1} << 40) ||
      h.e_phoff > (uint64_t{1} << 40))
    return corrupt("no ELF file");
  // CUDA's tools write the tables last.
  return std::max({sizeof h, h.e_shoff + size_t{h.e_shnum} * h.e_shentsize,
                   h.e_phoff + size_t{h.e_phnum} * h.e_phentsize});
}

base::Result<Cubin> parseCubin(std::span<const std::byte> bytes) {
  PLATEN_ASSIGN_OR_RETURN(File file, open(bytes));
  std::span<const std::byte> names, compat, info;
  if (file.header.e_shstrndx < file.sections.size()) {
    PLATEN_ASSIGN_OR_RETURN(names, file.contents(file.sections[file.header.e_shstrndx]));
  }
  for (const Elf64_Shdr &section : file.sections)
    if (std::string_view name = stringAt(names, section.sh_name); name == ".nv.compat") {
      PLATEN_ASSIGN_OR_RETURN(compat, file.contents(section));
    } else if (name == ".nv.info") {
      PLATEN_ASSIGN_OR_RETURN(info, file.contents(section));
    }
  Cubin cubin;
  cubin.architecture = architectureOf(file, compat);
  PLATEN_RETURN_IF_ERROR(readKernels(file, names, info, cubin));
  return cubin;
}

std::string cubinHash(std::span<const std::byte> file) {
  uint64_t hash = 0xCBF29CE484222325;
  for (std::byte b : file)
    hash = (hash ^ static_cast<uint64_t>(b)) * 0x100000001B3;
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

} // namespace platen::ptxsim::driver
