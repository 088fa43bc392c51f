// platen_chat_tool TEMPLATE: renders conversations over stdin and stdout, for comparisons with
// jinja2.
//
// A line of stdin is a JSON object: messages, tools (or null), variables, add_generation_prompt,
// now. A line of stdout is {"text": ...} or {"error": ...}.
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>

#include "runtime/text/chat_template.h"
#include "runtime/text/chat_value.h"

namespace {

using platen::text::ChatContext;
using platen::text::chat::Value;

std::string memberJson(const Value &request, const char *name) {
  const Value *member = request.find(name);
  return member == nullptr || member->isNone() ? "" : platen::text::chat::toJson(*member, {});
}

void answer(const char *key, std::string text) {
  Value line(platen::text::chat::Dict{{key, Value(std::move(text))}});
  std::cout << platen::text::chat::toJson(line, {}) << "\n";
}

} // namespace

int main(int argc, char **argv) {
  std::ifstream file(argc == 2 ? argv[1] : "", std::ios::binary);
  std::string source{std::istreambuf_iterator<char>(file), {}};
  auto parsed = platen::text::ChatTemplate::parse(source);
  if (!file || !parsed.isOk()) {
    std::fprintf(stderr, "%s\n",
                 parsed.isOk() ? "cannot be read" : parsed.status().toString().c_str());
    return 1;
  }
  for (std::string line; std::getline(std::cin, line);) {
    auto request = platen::text::chat::parseJson(line);
    if (!request.isOk()) {
      answer("error", request.status().toString());
      continue;
    }
    ChatContext context{.messages = memberJson(*request, "messages"),
                        .tools = memberJson(*request, "tools"),
                        .variables = memberJson(*request, "variables")};
    if (const Value *prompt = request->find("add_generation_prompt"))
      context.addGenerationPrompt = prompt->truthy();
    if (const Value *now = request->find("now"))
      context.now = now->integer();
    auto text = parsed->render(context);
    if (text.isOk())
      answer("text", *text);
    else
      answer("error", text.status().toString());
  }
  return 0;
}
