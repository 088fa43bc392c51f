// The C interface over the C++ one: copies in, copies out, exceptions become codes.
#include "runtime/engine/platen_c.h"

#include "runtime/engine/platen_c_access.h"
#include "runtime/engine/platen_c_calls.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>

namespace engine = platen::engine;
using platen::base::Status;
using platen::engine::c::call;
using platen::engine::c::copyStruct;
using platen::engine::c::failArgument;

struct PlatenEngine {
  explicit PlatenEngine(engine::Engine loaded) : engine(std::move(loaded)) {}
  engine::Engine engine;
  std::mutex mutex;
  std::map<uint64_t, std::string> leftovers; // text that did not fit into platen_read's buffer
};

struct PlatenResult {
  engine::RequestResult result;
  std::string error;
};

namespace {

engine::Sampling sampling(const PlatenRequest &given) {
  engine::Sampling sampling;
  sampling.temperature = given.temperature;
  sampling.top_k = given.top_k;
  sampling.top_p = given.top_p == 0 ? 1 : given.top_p;
  sampling.min_p = given.min_p;
  sampling.repeat_penalty = given.repeat_penalty == 0 ? 1 : given.repeat_penalty;
  if (given.repeat_last_tokens != 0)
    sampling.repeat_last_tokens = given.repeat_last_tokens;
  sampling.seed = given.seed;
  return sampling;
}

engine::Request request(const PlatenRequest &given) {
  engine::Request request;
  if (given.prompt != nullptr)
    request.prompt = given.prompt;
  if (given.token_ids != nullptr)
    request.tokens.assign(given.token_ids, given.token_ids + given.token_count);
  request.add_bos = given.no_bos == 0;
  request.parse_special = given.parse_special != 0;
  request.max_tokens = given.max_tokens;
  request.sampling = sampling(given);
  if (given.stop != nullptr)
    request.stop.assign(given.stop, given.stop + given.stop_count);
  if (given.stop_tokens != nullptr)
    request.stop_tokens.assign(given.stop_tokens, given.stop_tokens + given.stop_token_count);
  request.ignore_eos = given.ignore_eos != 0;
  return request;
}

// The longest prefix of at most `capacity` bytes that ends between characters.
size_t wholeCharacters(const std::string &text, size_t capacity) {
  if (text.size() <= capacity)
    return text.size();
  while (capacity > 0 && (static_cast<unsigned char>(text[capacity]) & 0xC0U) == 0x80U)
    --capacity;
  return capacity;
}

} // namespace

PlatenEngine *platen::engine::wrapForC(Engine engine) {
  return new PlatenEngine(std::move(engine));
}

uint32_t platen_abi_version(void) { return PLATEN_C_ABI_VERSION; }
const char *platen_last_error(void) { return engine::c::lastError().c_str(); }

int platen_engine_load(const char *plan_path, const PlatenEngineOptions *options,
                       PlatenEngine **out) {
  if (plan_path == nullptr || out == nullptr)
    return failArgument("plan_path and engine must not be NULL");
  return call([&]() -> Status {
    engine::EngineOptions chosen;
    if (options != nullptr) {
      auto given = copyStruct(options);
      if (!given)
        return platen::base::invalidArgument("options->struct_bytes is not the struct's size");
      chosen = {.threads = given->threads,
                .context_tokens = given->context_tokens,
                .step_tokens = given->step_tokens,
                .max_sequences = given->max_sequences,
                .max_waiting = given->max_waiting,
                .kv_bytes = given->kv_bytes,
                .kv_pages = given->kv_pages,
                .device = given->device == nullptr ? "" : given->device,
                .cuda_graphs = given->no_cuda_graphs == 0,
                .device_sampling = given->no_device_sampling == 0};
    }
    PLATEN_ASSIGN_OR_RETURN(engine::Engine loaded, engine::Engine::load(plan_path, chosen));
    *out = new PlatenEngine(std::move(loaded));
    return {};
  });
}

void platen_engine_free(PlatenEngine *engine) { delete engine; }

int platen_engine_start(PlatenEngine *engine) {
  if (engine == nullptr)
    return failArgument("engine must not be NULL");
  return call([&] { return engine->engine.start(); });
}

int platen_engine_stop(PlatenEngine *engine) {
  if (engine == nullptr)
    return failArgument("engine must not be NULL");
  return call([&] { return engine->engine.stop(); });
}

int platen_submit(PlatenEngine *engine, const PlatenRequest *given, uint64_t *id) {
  if (engine == nullptr || given == nullptr || id == nullptr)
    return failArgument("engine, request and id must not be NULL");
  return call([&]() -> Status {
    auto copy = copyStruct(given);
    if (!copy)
      return platen::base::invalidArgument("request->struct_bytes is not the struct's size");
    PLATEN_ASSIGN_OR_RETURN(*id, engine->engine.submit(request(*copy)));
    return {};
  });
}

int platen_cancel(PlatenEngine *engine, uint64_t id) {
  if (engine == nullptr)
    return failArgument("engine must not be NULL");
  return call([&] { return engine->engine.cancel(id); });
}

int platen_read(PlatenEngine *engine, uint64_t id, char *text, size_t capacity, size_t *bytes) {
  if (engine == nullptr || text == nullptr || bytes == nullptr || capacity < 4)
    return failArgument("engine, text and bytes must not be NULL, capacity must be at least 4");
  return call([&]() -> Status {
    *bytes = 0;
    std::string unread;
    {
      std::lock_guard lock(engine->mutex);
      if (auto left = engine->leftovers.extract(id))
        unread = std::move(left.mapped());
    }
    if (unread.empty()) {
      PLATEN_ASSIGN_OR_RETURN(unread, engine->engine.read(id));
    }
    *bytes = wholeCharacters(unread, capacity);
    std::memcpy(text, unread.data(), *bytes);
    if (*bytes < unread.size()) {
      std::lock_guard lock(engine->mutex);
      engine->leftovers[id] = unread.substr(*bytes);
    }
    return {};
  });
}

int platen_wait(PlatenEngine *engine, uint64_t id, PlatenResult **out) {
  if (engine == nullptr || out == nullptr)
    return failArgument("engine and result must not be NULL");
  return call([&]() -> Status {
    PLATEN_ASSIGN_OR_RETURN(engine::RequestResult result, engine->engine.wait(id));
    {
      std::lock_guard lock(engine->mutex);
      engine->leftovers.erase(id);
    }
    std::string error = result.status.isOk() ? "" : result.status.toString();
    *out = new PlatenResult{std::move(result), std::move(error)};
    return {};
  });
}

void platen_result_free(PlatenResult *result) { delete result; }
PlatenFinish platen_result_finish(const PlatenResult *result) {
  return static_cast<PlatenFinish>(result->result.finish);
}
int platen_result_status(const PlatenResult *result) {
  return static_cast<int>(result->result.status.code());
}
const char *platen_result_error(const PlatenResult *result) { return result->error.c_str(); }
const char *platen_result_text(const PlatenResult *result, size_t *bytes) {
  if (bytes != nullptr)
    *bytes = result->result.text.size();
  return result->result.text.c_str();
}
const int32_t *platen_result_tokens(const PlatenResult *result, size_t *count) {
  if (count != nullptr)
    *count = result->result.tokens.size();
  return result->result.tokens.data();
}
int64_t platen_result_prompt_tokens(const PlatenResult *result) {
  return result->result.prompt_tokens;
}
double platen_result_time_to_first_token_seconds(const PlatenResult *result) {
  return result->result.timings.time_to_first_token_seconds;
}
double platen_result_decode_seconds(const PlatenResult *result) {
  return result->result.timings.decode_seconds;
}
