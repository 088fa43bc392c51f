// libFuzzer target: any bytes as a chat template, any bytes as its messages.
//
// Input: u16 n, n bytes of JSON (messages), the rest is the template. Nothing may crash, hang or
// grow without measure. Seeds worth starting from: tests/tokenizer/chat behind "[]" or a short
// conversation.
#include <cstdint>
#include <cstring>

#include "runtime/text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  uint16_t bytes = 0;
  if (size < sizeof(bytes))
    return 0;
  std::memcpy(&bytes, data, sizeof(bytes));
  std::string_view rest(reinterpret_cast<const char *>(data) + sizeof(bytes), size - sizeof(bytes));
  if (bytes > rest.size())
    return 0;
  auto parsed = platen::text::ChatTemplate::parse(rest.substr(bytes));
  if (!parsed.isOk())
    return 0;
  for (bool prompt : {false, true}) {
    platen::text::ChatContext context;
    context.messages = std::string(rest.substr(0, bytes));
    context.variables = R"({"bos_token": "<s>", "eos_token": "</s>"})";
    context.addGenerationPrompt = prompt;
    context.now = 0;
    (void)parsed->render(context);
  }
  return 0;
}
