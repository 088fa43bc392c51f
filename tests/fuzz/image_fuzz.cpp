// libFuzzer target for the simulated driver's images: whatever the bytes, a fat binary or a cubin
// is read or refused, and what is chosen of it is PTX.
//
// The first byte says what the rest is: a whole image; or edits (u16 offset, u8 value) of a small
// fat binary, with and without compression, or of a small cubin. No seeds are needed.
#include "tools/ptxsim/driver/fatbin.h"
#include "tools/ptxsim/driver/image.h"

#include <cstdlib>
#include <cstring>
#include <elf.h>
#include <lz4.h>
#include <string>
#include <vector>

using namespace platen;
using namespace platen::ptxsim::driver;

namespace {

void require(bool condition) {
  if (!condition)
    std::abort();
}

const std::string kPtx = ".version 8.0\n.target sm_80\n.address_size 64\n"
                         ".visible .entry k(.param .u64 p)\n{\nret;\n}\n"
                         ".visible .entry other()\n{\nret;\n}\n";

template <class T> void append(std::string &to, const T &value) {
  to.append(reinterpret_cast<const char *>(&value), sizeof value);
}

/// An entry of a fat binary: kind 1 PTX, 2 cubin; LZ4 if `packed`.
std::string entryOf(uint16_t kind, const std::string &content, bool packed) {
  std::string stored = content;
  if (packed) {
    stored.resize(static_cast<size_t>(LZ4_compressBound(static_cast<int>(content.size()))));
    stored.resize(static_cast<size_t>(LZ4_compress_default(content.data(), stored.data(),
                                                           static_cast<int>(content.size()),
                                                           static_cast<int>(stored.size()))));
  }
  size_t compressed = stored.size();
  stored.resize((stored.size() + 7) / 8 * 8);
  std::string entry;
  append(entry, kind);
  append(entry, uint16_t{0x101});
  append(entry, uint32_t{64});
  append(entry, uint64_t{stored.size()});
  append(entry, static_cast<uint32_t>(compressed));
  append(entry, uint32_t{0});
  append(entry, uint32_t{8});  // version
  append(entry, uint32_t{80}); // sm_80
  append(entry, uint64_t{0});  // name
  append(entry, uint64_t{packed ? 0x2011u : 0x11u});
  append(entry, uint64_t{0});
  append(entry, uint64_t{packed ? content.size() : 0});
  require(entry.size() == 64);
  return entry + stored;
}

std::string fatbinOf(const std::string &entries) {
  std::string text;
  append(text, kFatbinMagic);
  append(text, uint16_t{1});
  append(text, uint16_t{16});
  append(text, uint64_t{entries.size()});
  return text + entries;
}

/// An ELF file with kernel `k`: names, strings, symbols, .nv.info, .nv.shared.k and code.
std::string cubinOf() {
  std::string names = std::string(1, '\0') + ".shstrtab" + '\0' + ".strtab" + '\0' + ".symtab" +
                      '\0' + ".nv.info" + '\0' + ".nv.shared.k" + '\0' + ".text.k" + '\0';
  std::string strings = std::string(1, '\0') + "k" + '\0';
  auto at = [&](const char *name) { return static_cast<Elf64_Word>(names.find(name)); };
  Elf64_Sym symbols[2] = {};
  symbols[1] = {1, ELF64_ST_INFO(STB_GLOBAL, STT_FUNC), 0x10, 6, 0, 16};
  std::string info = std::string("\x04\x2f\x08\x00", 4);
  append(info, uint32_t{1});
  append(info, uint32_t{24});
  std::string body;
  std::vector<Elf64_Shdr> sections(1);
  auto add = [&](const char *name, uint32_t type, const std::string &content, uint32_t link = 0) {
    Elf64_Shdr section = {};
    section.sh_name = at(name), section.sh_type = type, section.sh_link = link;
    section.sh_offset = sizeof(Elf64_Ehdr) + body.size(), section.sh_size = content.size();
    sections.push_back(section);
    body += content;
  };
  add(".shstrtab", SHT_STRTAB, names);
  add(".strtab", SHT_STRTAB, strings);
  add(".symtab", SHT_SYMTAB, std::string(reinterpret_cast<char *>(symbols), sizeof symbols), 2);
  add(".nv.info", SHT_PROGBITS, info);
  add(".nv.shared.k", SHT_NOBITS, "");
  add(".text.k", SHT_PROGBITS, std::string(16, '\0'));
  Elf64_Ehdr header = {};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64, header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_OSABI] = 0x33;
  header.e_type = ET_EXEC, header.e_machine = 190, header.e_flags = 80;
  header.e_shoff = sizeof header + body.size(), header.e_shentsize = sizeof(Elf64_Shdr);
  header.e_shnum = static_cast<Elf64_Half>(sections.size()), header.e_shstrndx = 1;
  std::string file;
  append(file, header);
  file += body;
  for (const Elf64_Shdr &section : sections)
    append(file, section);
  return file;
}

std::string edited(std::string text, const uint8_t *data, size_t size) {
  for (; size >= 3; data += 3, size -= 3)
    text[(data[0] | data[1] << 8u) % text.size()] = static_cast<char>(data[2]);
  return text;
}

void use(const std::string &image) {
  auto bytes = std::as_bytes(std::span(image));
  if (auto entries = parseFatbin(bytes); entries.isOk())
    for (const FatbinEntry &entry : *entries)
      if (entry.size <= 1 << 20)
        if (auto content = unpack(entry); content.isOk())
          require(content->size() <= entry.size);
  if (auto cubin = parseCubin(bytes); cubin.isOk())
    for (const CubinKernel &kernel : cubin->kernels)
      require(cubin->kernel(kernel.name) != nullptr);
  for (Architecture device : {Architecture{80, 0}, Architecture{90, 'a'}}) {
    ChooseResult result = chooseImage(image, device, "");
    require(result.chosen.has_value() != !result.error.message.empty());
  }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const std::string cubin = cubinOf();
  static const std::string images[] = {fatbinOf(entryOf(1, kPtx, false) + entryOf(2, cubin, false)),
                                       fatbinOf(entryOf(2, cubin, true) + entryOf(1, kPtx, true)),
                                       cubin};
  static const bool isGood = [] { // the unedited images are right, or edits would show little
    require(parseCubin(std::as_bytes(std::span(cubin))).isOk());
    for (size_t n : {0, 1})
      require(chooseImage(images[n], Architecture{80, 0}, "").chosen.has_value());
    return true;
  }();
  if (!isGood || size == 0)
    return 0;
  size_t mode = data[0] % 4;
  use(mode == 0 ? std::string(reinterpret_cast<const char *>(data + 1), size - 1)
                : edited(images[mode - 1], data + 1, size - 1));
  return 0;
}
