// The fault strikes at the n-th call of its kind, neither earlier nor at another kind; a lost
// device stays lost.
#include "runtime/device/fault/fault_device.h"

#include <gtest/gtest.h>

#include "runtime/device/null/null_device.h"

namespace platen::device {
namespace {

using base::StatusCode;

TEST(FaultDevice, StrikesAtTheNthCallOfItsKind) {
  FaultDevice device(std::make_unique<NullDevice>());
  device.failAt(FaultKind::kAllocate, 3);
  EXPECT_TRUE(device.synchronize().isOk());
  EXPECT_TRUE(device.allocate(8, "a").isOk());
  EXPECT_TRUE(device.allocate(8, "b").isOk());
  auto third = device.allocate(8, "c");
  EXPECT_EQ(third.status().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(third.status().origin(), "c");
  EXPECT_TRUE(device.allocate(8, "d").isOk()) << "running out of memory does not lose the device";
}

TEST(FaultDevice, ALostDeviceStaysLostUntilHealed) {
  FaultDevice device(std::make_unique<NullDevice>());
  auto memory = device.allocate(64, "m");
  ASSERT_TRUE(memory.isOk());
  auto kernel = device.bind({}, {});
  ASSERT_TRUE(kernel.isOk());
  Launch launch{.kernel = kernel->get(), .extents = {}, .units = 1};
  device.failAt(FaultKind::kLaunch, 2);
  EXPECT_TRUE(device.launch(launch).isOk());
  EXPECT_TRUE(device.upload(**memory, 0, {}).isOk());
  EXPECT_EQ(device.launch(launch).code(), StatusCode::kDeviceLost);
  EXPECT_EQ(device.launch(launch).code(), StatusCode::kDeviceLost);
  EXPECT_EQ(device.upload(**memory, 0, {}).code(), StatusCode::kDeviceLost);
  EXPECT_EQ(device.read(**memory, 0, 1).status().code(), StatusCode::kDeviceLost);
  EXPECT_EQ(device.synchronize().code(), StatusCode::kDeviceLost);
  device.heal();
  EXPECT_TRUE(device.launch(launch).isOk());
  EXPECT_EQ(static_cast<NullDevice &>(device.wrapped()).counts().launches, 2U);
}

} // namespace
} // namespace platen::device
