// The C interface, driven from C and checked from C++.
#include "runtime/engine/fake_model.h"
#include "runtime/engine/platen_c_access.h"

#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

extern "C" int platenCheckFromC(PlatenEngine *engine, char *text, size_t capacity);

namespace platen::engine {
namespace {

struct CEngine {
  explicit CEngine(fake::Style style) : handle(wrapForC(fake::makeEngine(style))) {}
  ~CEngine() { platen_engine_free(handle); }
  PlatenEngine *handle;
};

PlatenRequest emptyRequest() {
  PlatenRequest request{};
  request.struct_bytes = sizeof request;
  return request;
}

TEST(PlatenC, ARequestFromC) {
  CEngine engine(fake::Style::kAlphabet);
  char text[64];
  ASSERT_EQ(platenCheckFromC(engine.handle, text, sizeof text), PLATEN_OK) << platen_last_error();
  EXPECT_STREQ(text, "bcdefghijk");
}

TEST(PlatenC, ResultHoldsWhatTheCppResultHolds) {
  CEngine engine(fake::Style::kAlphabet);
  ASSERT_EQ(platen_engine_start(engine.handle), PLATEN_OK);
  EXPECT_EQ(platen_engine_start(engine.handle), PLATEN_INVALID_ARGUMENT);
  const char *stop[] = {"zz", "fg"};
  const int32_t prompt[] = {fake::kLetterA, fake::kLetterA + 1};
  PlatenRequest request = emptyRequest();
  request.token_ids = prompt;
  request.token_count = 2;
  request.max_tokens = 30;
  request.stop = stop;
  request.stop_count = 2;
  uint64_t id = 0;
  ASSERT_EQ(platen_submit(engine.handle, &request, &id), PLATEN_OK) << platen_last_error();
  PlatenResult *result = nullptr;
  ASSERT_EQ(platen_wait(engine.handle, id, &result), PLATEN_OK) << platen_last_error();
  size_t bytes = 0, count = 0;
  EXPECT_STREQ(platen_result_text(result, &bytes), "cde");
  EXPECT_EQ(bytes, 3u);
  EXPECT_EQ(platen_result_tokens(result, &count)[0], fake::kLetterA + 2);
  EXPECT_EQ(count, 5u);
  EXPECT_EQ(platen_result_finish(result), PLATEN_FINISH_STOP_STRING);
  EXPECT_EQ(platen_result_status(result), PLATEN_OK);
  EXPECT_STREQ(platen_result_error(result), "");
  EXPECT_EQ(platen_result_prompt_tokens(result), 2);
  EXPECT_GT(platen_result_time_to_first_token_seconds(result), 0);
  EXPECT_GE(platen_result_decode_seconds(result), 0);
  platen_result_free(result);
  EXPECT_EQ(platen_wait(engine.handle, id, &result), PLATEN_NOT_FOUND);
  EXPECT_EQ(platen_engine_stop(engine.handle), PLATEN_OK);
}

TEST(PlatenC, FailuresHaveCodesAndMessages) {
  CEngine engine(fake::Style::kHash);
  uint64_t id = 0;
  PlatenRequest request = emptyRequest();
  EXPECT_EQ(platen_submit(engine.handle, &request, &id), PLATEN_INVALID_ARGUMENT);
  EXPECT_THAT(platen_last_error(), testing::HasSubstr("the prompt is empty"));
  request.struct_bytes = 0;
  EXPECT_EQ(platen_submit(engine.handle, &request, &id), PLATEN_INVALID_ARGUMENT);
  EXPECT_THAT(platen_last_error(), testing::HasSubstr("struct_bytes"));
  EXPECT_EQ(platen_submit(nullptr, &request, &id), PLATEN_INVALID_ARGUMENT);
  EXPECT_EQ(platen_cancel(engine.handle, 5), PLATEN_NOT_FOUND);
  char text[8];
  size_t bytes = 0;
  EXPECT_EQ(platen_read(engine.handle, 5, text, sizeof text, &bytes), PLATEN_NOT_FOUND);
  EXPECT_EQ(platen_read(engine.handle, 5, text, 3, &bytes), PLATEN_INVALID_ARGUMENT);
  platen_engine_free(nullptr);
  platen_result_free(nullptr);
}

TEST(PlatenC, AFailedRequestGivesAResult) {
  CEngine engine(fake::Style::kHash);
  const int32_t poison[] = {3, fake::kPoison};
  PlatenRequest request = emptyRequest();
  request.token_ids = poison;
  request.token_count = 2;
  uint64_t id = 0;
  ASSERT_EQ(platen_submit(engine.handle, &request, &id), PLATEN_OK);
  PlatenResult *result = nullptr;
  ASSERT_EQ(platen_wait(engine.handle, id, &result), PLATEN_OK);
  EXPECT_EQ(platen_result_finish(result), PLATEN_FINISH_ERROR);
  EXPECT_EQ(platen_result_status(result), PLATEN_INTERNAL);
  EXPECT_THAT(platen_result_error(result), testing::HasSubstr("NaN"));
  platen_result_free(result);
}

TEST(PlatenC, ShorterStructsOfOlderCallersWork) {
  CEngine engine(fake::Style::kAlphabet);
  PlatenRequest request;
  std::memset(&request, 0x7f, sizeof request); // what an older caller does not set may be anything
  request.struct_bytes = offsetof(PlatenRequest, temperature);
  request.prompt = "a";
  request.token_ids = nullptr;
  request.token_count = 0;
  request.max_tokens = 3;
  uint64_t id = 0;
  ASSERT_EQ(platen_submit(engine.handle, &request, &id), PLATEN_OK) << platen_last_error();
  PlatenResult *result = nullptr;
  ASSERT_EQ(platen_wait(engine.handle, id, &result), PLATEN_OK);
  EXPECT_STREQ(platen_result_text(result, nullptr), "bcd");
  platen_result_free(result);
}

TEST(PlatenC, CodesEqualTheStatusCodes) {
  EXPECT_EQ(platen_abi_version(), 1u);
  EXPECT_EQ(PLATEN_INTERNAL, static_cast<int>(base::StatusCode::kInternal));
  EXPECT_EQ(PLATEN_DEVICE_LOST, static_cast<int>(base::StatusCode::kDeviceLost));
  EXPECT_EQ(PLATEN_RESOURCE_EXHAUSTED, static_cast<int>(base::StatusCode::kResourceExhausted));
  EXPECT_EQ(PLATEN_FINISH_CANCELLED, static_cast<int>(FinishReason::kCancelled));
  EXPECT_EQ(PLATEN_FINISH_ERROR, static_cast<int>(FinishReason::kError));
}

} // namespace
} // namespace platen::engine
