// Status keeps code, message and origin through composition; Result keeps exactly one of value and
// status.
#include "runtime/base/status.h"

#include <gtest/gtest.h>

namespace platen::base {
namespace {

TEST(Status, DefaultIsOk) {
  Status status;
  EXPECT_TRUE(status.isOk());
  EXPECT_EQ(status.toString(), "OK");
}

TEST(Status, OriginsNestOutermostFirst) {
  Status status = corrupt("hash differs", "section 'weights'").at("model.plan");
  EXPECT_EQ(status.code(), StatusCode::kCorrupt);
  EXPECT_EQ(status.toString(), "CORRUPT: model.plan: section 'weights': hash differs");
}

Result<int> half(int value) {
  if (value % 2 != 0)
    return invalidArgument("odd");
  return value / 2;
}

Result<int> quarter(int value) {
  PLATEN_ASSIGN_OR_RETURN(int once, half(value));
  PLATEN_ASSIGN_OR_RETURN(int twice, half(once));
  return twice;
}

TEST(Result, CarriesValueOrStatus) {
  EXPECT_EQ(quarter(12).value(), 3);
  EXPECT_EQ(quarter(6).status().message(), "odd");
}

TEST(Result, OkStatusIsNoValue) {
  Result<int> result{Status::ok()};
  EXPECT_FALSE(result.isOk());
  EXPECT_EQ(result.status().code(), StatusCode::kInternal);
}

} // namespace
} // namespace platen::base
