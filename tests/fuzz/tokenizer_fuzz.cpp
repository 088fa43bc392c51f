// libFuzzer target: any bytes as a tokenizer section, any bytes as text.
//
// Input: u16 n, n bytes of text, the rest is the section. Nothing may crash, hang or leave the
// vocabulary. Seeds worth starting from: sections that platen_tokenizer_section_tool wrote, behind
// a short text.
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "runtime/text/tokenizer.h"

namespace {

void require(bool holds) {
  if (!holds)
    std::abort();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  uint16_t textBytes = 0;
  if (size < sizeof(textBytes))
    return 0;
  std::memcpy(&textBytes, data, sizeof(textBytes));
  auto bytes = std::as_bytes(std::span(data, size)).subspan(sizeof(textBytes));
  if (textBytes > bytes.size())
    return 0;
  std::string_view text(reinterpret_cast<const char *>(bytes.data()), textBytes);
  auto tokenizer = platen::text::Tokenizer::fromSection(bytes.subspan(textBytes));
  if (!tokenizer.isOk())
    return 0;
  for (bool parseSpecial : {false, true}) {
    auto ids = (*tokenizer)->encode(text, {.parseSpecial = parseSpecial});
    if (!ids.isOk()) { // only where a damaged section would blow the text up
      require(ids.status().code() == platen::base::StatusCode::kCorrupt);
      continue;
    }
    for (int32_t id : *ids)
      require(id >= 0 && id < (*tokenizer)->vocabularySize());
    require((*tokenizer)->decode(*ids).isOk());
  }
  return 0;
}
