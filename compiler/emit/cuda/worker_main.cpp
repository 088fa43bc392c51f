// platen-nvrtc-worker: compiles what it is asked to on standard input, answers on standard output.
// A process of its own, because NVRTC serialises inside a process and may crash where a driver is
// odd.
//
// Request: name, architecture, source. Answer: "ok", ptx, cubin, log, or "error", code, message.
// Arguments: the NVRTC libraries to try.
#include "compiler/emit/cuda/frames.h"
#include "compiler/emit/cuda/nvrtc.h"

#include <unistd.h>

using namespace platen;
using namespace platen::compiler;

namespace {
Frame failure(const base::Status &status) {
  return {"error", std::to_string(static_cast<int>(status.code())), std::string(status.message())};
}
} // namespace

int main(int count, char **arguments) {
  const int answers = dup(STDOUT_FILENO); // whatever the library prints goes to standard error
  dup2(STDERR_FILENO, STDOUT_FILENO);
  base::Result<Nvrtc> nvrtc = Nvrtc::open({arguments + 1, arguments + count});
  for (;;) {
    base::Result<Frame> request = readFrame(STDIN_FILENO);
    if (!request.isOk() || request.value().size() != 3)
      return request.isOk() && request.value().empty() ? 0 : 1;
    const Frame &frame = request.value();
    Frame answer;
    if (!nvrtc.isOk()) {
      answer = failure(nvrtc.status());
    } else if (auto output = nvrtc.value().compile(frame[2], frame[0], frame[1]); !output.isOk()) {
      answer = failure(output.status());
    } else {
      answer = {"ok", output.value().ptx, output.value().cubin, output.value().log};
    }
    if (!writeFrame(answers, answer).isOk())
      return 1;
  }
}
