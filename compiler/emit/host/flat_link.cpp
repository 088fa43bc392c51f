#include "compiler/emit/host/flat_link.h"

#include "llvm/Object/ELFObjectFile.h"
#include "llvm/Support/MemoryBuffer.h"

#include <cstring>
#include <limits>

namespace platen::compiler {

using base::Result;
using base::Status;
namespace ELF = llvm::ELF;

namespace {

using File = llvm::object::ELFFile<llvm::object::ELF64LE>;
using Header = File::Elf_Shdr;
constexpr uint64_t kNotPlaced = std::numeric_limits<uint64_t>::max();

Status corruptObject(const ObjectFile &object, llvm::Error error) {
  return base::corrupt("not a readable ELF object: " + llvm::toString(std::move(error)),
                       object.origin);
}

/// An object being placed: where each of its sections stands in the blob.
struct Placed {
  const ObjectFile *object;
  File file;
  std::vector<uint64_t> offsets; // by section index
};

class Linker {
public:
  Result<CodeBlob> link(std::span<const ObjectFile> objects) {
    for (const ObjectFile &object : objects)
      PLATEN_RETURN_IF_ERROR(open(object));
    for (bool executable : {true, false}) {
      for (Placed &placed : placed_)
        PLATEN_RETURN_IF_ERROR(place(placed, executable));
      align(64, executable ? 0xcc : 0x00);
    }
    for (Placed &placed : placed_) {
      PLATEN_RETURN_IF_ERROR(relocate(placed));
      PLATEN_RETURN_IF_ERROR(addEntries(placed));
    }
    return std::move(blob_);
  }

private:
  Status open(const ObjectFile &object) {
    auto file = File::create(llvm::StringRef(object.bytes.data(), object.bytes.size()));
    if (!file)
      return corruptObject(object, file.takeError());
    const auto &header = file->getHeader();
    if (header.e_machine != ELF::EM_X86_64 || header.e_type != ELF::ET_REL)
      return base::corrupt("not a relocatable x86-64 object", object.origin);
    placed_.push_back({&object, *file, {}});
    return Status::ok();
  }

  void align(uint64_t alignment, uint8_t fill) {
    blob_.bytes.resize((blob_.bytes.size() + alignment - 1) / alignment * alignment, fill);
  }

  Status place(Placed &placed, bool executable) {
    auto sections = placed.file.sections();
    if (!sections)
      return corruptObject(*placed.object, sections.takeError());
    placed.offsets.resize(sections->size(), kNotPlaced);
    for (size_t index = 0; index < sections->size(); ++index) {
      const Header &section = (*sections)[index];
      if ((section.sh_flags & ELF::SHF_ALLOC) == 0 || section.sh_size == 0)
        continue;
      auto name = placed.file.getSectionName(section);
      if (!name)
        return corruptObject(*placed.object, name.takeError());
      if ((section.sh_flags & (ELF::SHF_WRITE | ELF::SHF_TLS)) != 0 ||
          section.sh_type == ELF::SHT_NOBITS)
        return base::unsupported(
            "section '" + name->str() +
                "' is writable; a kernel keeps no state, so its constants must be read-only "
                "and need no run-time relocation",
            placed.object->origin);
      if (((section.sh_flags & ELF::SHF_EXECINSTR) != 0) != executable)
        continue;
      auto content = placed.file.getSectionContents(section);
      if (!content)
        return corruptObject(*placed.object, content.takeError());
      const uint64_t alignment =
          executable ? std::max<uint64_t>(64, section.sh_addralign) : section.sh_addralign;
      if (alignment > 4096 || (alignment & (alignment - 1)) != 0)
        return base::corrupt("section '" + name->str() + "' asks for an alignment of " +
                                 std::to_string(alignment),
                             placed.object->origin);
      align(std::max<uint64_t>(1, alignment), executable ? 0xcc : 0x00);
      placed.offsets[index] = blob_.bytes.size();
      blob_.bytes.insert(blob_.bytes.end(), content->begin(), content->end());
    }
    return Status::ok();
  }

  /// Offset in the blob of what a relocation's symbol refers to.
  Result<uint64_t> symbolOffset(const Placed &placed, const Header &relocations, uint32_t index) {
    auto table = placed.file.getSection(relocations.sh_link);
    if (!table)
      return corruptObject(*placed.object, table.takeError());
    auto symbol = placed.file.getSymbol(*table, index);
    if (!symbol)
      return corruptObject(*placed.object, symbol.takeError());
    auto strings = placed.file.getStringTableForSymtab(**table);
    if (!strings)
      return corruptObject(*placed.object, strings.takeError());
    auto name = (*symbol)->getName(*strings);
    const std::string text = name ? name->str() : (llvm::consumeError(name.takeError()), "?");
    const uint32_t section = (*symbol)->st_shndx;
    if (section == ELF::SHN_UNDEF)
      return base::unsupported(
          "undefined symbol '" + text +
              "': a kernel is a leaf and may call nothing; replace the operation that needs it "
              "by vector arithmetic",
          placed.object->origin);
    if (section >= placed.offsets.size() || placed.offsets[section] == kNotPlaced)
      return base::unsupported("symbol '" + text + "' lies in no section of the blob",
                               placed.object->origin);
    return placed.offsets[section] + (*symbol)->st_value;
  }

  Status relocate(const Placed &placed) {
    auto sections = placed.file.sections();
    for (const Header &section : *sections) {
      if (section.sh_type != ELF::SHT_RELA && section.sh_type != ELF::SHT_REL)
        continue;
      if (section.sh_info >= placed.offsets.size() || placed.offsets[section.sh_info] == kNotPlaced)
        continue; // of debug or note sections
      if (section.sh_type == ELF::SHT_REL)
        return base::unsupported("relocations without addends", placed.object->origin);
      auto entries = placed.file.relas(section);
      if (!entries)
        return corruptObject(*placed.object, entries.takeError());
      const Header &target = (*sections)[section.sh_info];
      for (const auto &entry : *entries)
        PLATEN_RETURN_IF_ERROR(apply(placed, section, target, entry));
    }
    return Status::ok();
  }

  Status apply(const Placed &placed, const Header &section, const Header &target,
               const File::Elf_Rela &entry) {
    const uint32_t type = entry.getType(/*isMips64EL=*/false);
    const bool wide = type == ELF::R_X86_64_PC64;
    if (!wide && type != ELF::R_X86_64_PC32 && type != ELF::R_X86_64_PLT32)
      return base::unsupported(
          "relocation " + llvm::object::getELFRelocationTypeName(ELF::EM_X86_64, type).str() +
              "; only PC32, PLT32 and PC64 keep code position independent",
          placed.object->origin);
    if (entry.r_offset > target.sh_size || target.sh_size - entry.r_offset < (wide ? 8U : 4U))
      return base::corrupt("a relocation lies outside its section", placed.object->origin);
    PLATEN_ASSIGN_OR_RETURN(const uint64_t symbol,
                            symbolOffset(placed, section, entry.getSymbol(false)));
    const uint64_t place = placed.offsets[section.sh_info] + entry.r_offset;
    const auto value =
        static_cast<int64_t>(symbol + static_cast<uint64_t>(int64_t{entry.r_addend}) - place);
    if (!wide && value != static_cast<int32_t>(value))
      return base::unsupported("a relative distance of " + std::to_string(value) +
                                   " bytes does not fit 32 bits",
                               placed.object->origin);
    std::memcpy(blob_.bytes.data() + place, &value, wide ? 8 : 4);
    return Status::ok();
  }

  Status addEntries(const Placed &placed) {
    auto sections = placed.file.sections();
    for (const Header &section : *sections) {
      if (section.sh_type != ELF::SHT_SYMTAB)
        continue;
      auto symbols = placed.file.symbols(&section);
      auto strings = placed.file.getStringTableForSymtab(section);
      if (!symbols)
        return corruptObject(*placed.object, symbols.takeError());
      if (!strings)
        return corruptObject(*placed.object, strings.takeError());
      for (const auto &symbol : *symbols) {
        if (symbol.getType() != ELF::STT_FUNC || symbol.getBinding() != ELF::STB_GLOBAL ||
            symbol.st_shndx >= placed.offsets.size() ||
            placed.offsets[symbol.st_shndx] == kNotPlaced)
          continue;
        auto name = symbol.getName(*strings);
        if (!name)
          return corruptObject(*placed.object, name.takeError());
        if (!blob_.entries.emplace(name->str(), placed.offsets[symbol.st_shndx] + symbol.st_value)
                 .second)
          return base::invalidArgument("kernel '" + name->str() + "' is defined twice",
                                       placed.object->origin);
      }
    }
    return Status::ok();
  }

  CodeBlob blob_;
  std::vector<Placed> placed_;
};

} // namespace

Result<CodeBlob> flatLink(std::span<const ObjectFile> objects) { return Linker().link(objects); }

} // namespace platen::compiler
