// platen_tokenizer_section FILE OUTPUT: writes the tokenizer section alone, for comparisons and
// fuzzing seeds.
#include <cstdio>
#include <fstream>

#include "compiler/tokenizer/tokenizer_section.h"

int main(int argc, char **argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s TOKENIZER_FILE OUTPUT\n", argv[0]);
    return 2;
  }
  auto section = platen::compiler::buildTokenizerSection(argv[1]);
  if (!section) {
    std::fprintf(stderr, "%s\n", section.status().toString().c_str());
    return 1;
  }
  std::ofstream out(argv[2], std::ios::binary);
  out.write(reinterpret_cast<const char *>(section->bytes.data()),
            static_cast<std::streamsize>(section->bytes.size()));
  out.close();
  if (!out) {
    std::fprintf(stderr, "%s cannot be written\n", argv[2]);
    return 1;
  }
  std::printf("%s: %u pieces, %zu bytes, bos %d eos %d unk %d pad %d\n", section->kind.c_str(),
              section->vocabulary, section->bytes.size(), section->bos, section->eos,
              section->unknown, section->pad);
  return 0;
}
