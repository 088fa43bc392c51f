// platen-nvrtc-worker: compiles what it is asked to on standard input, answers on standard output.
// A process of its own, because NVRTC serialises inside a process and may crash where a driver is
// odd.
//
// Request: name, architecture, source. Answer: "ok", ptx, cubin, image, log, or "error", code,
// message. Request "hello": "ok" or an error. Arguments: the NVRTC libraries to try, "--", the
// nvFatbin libraries to try.
#include "compiler/emit/cuda/fatbin.h"
#include "compiler/emit/cuda/frames.h"
#include "compiler/emit/cuda/nvrtc.h"

#include <algorithm>
#include <string_view>
#include <unistd.h>

using namespace platen;
using namespace platen::compiler;

namespace {

struct Libraries {
  base::Result<Nvrtc> nvrtc;
  base::Result<Fatbin> fatbin;
};

base::Result<Frame> answerTo(const Frame &request, const Libraries &libraries) {
  PLATEN_RETURN_IF_ERROR(libraries.nvrtc.status());
  PLATEN_RETURN_IF_ERROR(libraries.fatbin.status());
  if (request.size() == 1)
    return Frame{"ok"};
  const std::string &name = request[0], &architecture = request[1];
  PLATEN_ASSIGN_OR_RETURN(NvrtcOutput output,
                          libraries.nvrtc.value().compile(request[2], name, architecture));
  PLATEN_ASSIGN_OR_RETURN(std::string image, libraries.fatbin.value().wrap(
                                                 name, architecture, output.cubin, output.ptx));
  return Frame{"ok", std::move(output.ptx), std::move(output.cubin), std::move(image),
               std::move(output.log)};
}

} // namespace

int main(int count, char **arguments) {
  const int answers = dup(STDOUT_FILENO); // whatever the library prints goes to standard error
  dup2(STDERR_FILENO, STDOUT_FILENO);
  char **end = arguments + count,
       **separator = std::find(arguments + 1, end, std::string_view("--"));
  const Libraries libraries{Nvrtc::open({arguments + 1, separator}),
                            Fatbin::open({std::min(separator + 1, end), end})};
  for (;;) {
    base::Result<Frame> request = readFrame(STDIN_FILENO);
    if (!request.isOk() || (request.value().size() != 3 && request.value().size() != 1))
      return request.isOk() && request.value().empty() ? 0 : 1;
    base::Result<Frame> answer = answerTo(request.value(), libraries);
    if (!answer.isOk())
      answer = Frame{"error", std::to_string(static_cast<int>(answer.status().code())),
                     std::string(answer.status().message())};
    if (!writeFrame(answers, answer.value()).isOk())
      return 1;
  }
}
