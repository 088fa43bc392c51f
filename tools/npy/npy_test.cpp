// Arrays as NumPy writes them, what we write, and what nobody should have written.
#include "tools/npy/npy.h"

#include <cstring>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace platen::npy {
namespace {

using base::DType;
using base::StatusCode;
using testing::HasSubstr;

/// A file of that version with that dictionary.
std::string file(const std::string &dictionary, const std::string &elements, char version = 1) {
  std::string text = std::string("\x93NUMPY") + version + '\0';
  size_t length = dictionary.size();
  for (int i = 0; i < (version == 1 ? 2 : 4); ++i)
    text += static_cast<char>(length >> (8 * i) & 0xff);
  return text + dictionary + elements;
}

base::Result<Array> parsed(const std::string &text) {
  return parse(std::as_bytes(std::span(text)));
}

constexpr const char *kInts = "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 1), }  \n";

TEST(Npy, ReadsWhatNumpyWrites) {
  for (char version : {1, 2, 3}) {
    auto array = parsed(file(kInts, "abcdefgh", version));
    ASSERT_TRUE(array.isOk()) << array.status().toString();
    EXPECT_EQ(array->dtype, DType::kI32);
    EXPECT_THAT(array->dims, testing::ElementsAre(2, 1));
    EXPECT_EQ(std::memcmp(array->bytes.data(), "abcdefgh", 8), 0);
  }
  auto scalar = parsed(file("{'descr': '<f8', 'fortran_order': False, 'shape': (), }", "01234567"));
  ASSERT_TRUE(scalar.isOk()) << scalar.status().toString();
  EXPECT_TRUE(scalar->dims.empty());
  auto line = parsed(file("{'descr': '|V2', 'fortran_order': False, 'shape': (3,), }", "012345"));
  ASSERT_TRUE(line.isOk()) << line.status().toString();
  EXPECT_EQ(line->dtype, DType::kBF16);
}

TEST(Npy, ReadsBackWhatItWrites) {
  std::string bytes(2 * 3 * 8, 'x');
  for (DType dtype :
       {DType::kF32, DType::kF16, DType::kBF16, DType::kF64, DType::kI64, DType::kI32, DType::kI16,
        DType::kI8, DType::kU64, DType::kU32, DType::kU16, DType::kU8, DType::kBool}) {
    auto data =
        std::as_bytes(std::span(bytes)).first(6 * static_cast<size_t>(base::bitWidth(dtype)) / 8);
    for (const std::vector<int64_t> &dims : {std::vector<int64_t>{2, 3}, {6}, {1, 6, 1}}) {
      auto text = encode(dtype, dims, data);
      ASSERT_TRUE(text.isOk());
      EXPECT_EQ((text->size() - data.size()) % 64, 0U) << "elements are aligned";
      auto array = parsed(*text);
      ASSERT_TRUE(array.isOk()) << array.status().toString();
      EXPECT_EQ(array->dtype, dtype);
      EXPECT_EQ(array->dims, dims);
      EXPECT_TRUE(std::ranges::equal(array->bytes, data));
    }
  }
  for (const std::vector<int64_t> &dims : {std::vector<int64_t>{0, 5}, {3, 0, 1LL << 60}}) {
    auto empty = parsed(*encode(DType::kF32, dims, {}));
    ASSERT_TRUE(empty.isOk()) << empty.status().toString();
    EXPECT_EQ(empty->dims, dims);
  }
  EXPECT_EQ(encode(DType::kI4, {}, {}).status().code(), StatusCode::kUnsupported);
}

TEST(Npy, Files) {
  auto path =
      std::filesystem::temp_directory_path() / ("platen_npy_" + std::to_string(getpid()) + ".npy");
  const float values[] = {1, 2, 3};
  const int64_t dims[] = {3};
  ASSERT_TRUE(write(path, DType::kF32, dims, std::as_bytes(std::span(values))).isOk());
  auto array = read(path);
  ASSERT_TRUE(array.isOk()) << array.status().toString();
  EXPECT_EQ(std::memcmp(array->bytes.data(), values, sizeof values), 0);
  std::filesystem::resize_file(path, 130);
  EXPECT_EQ(read(path).status().code(), StatusCode::kCorrupt);
  EXPECT_THAT(read(path).status().toString(), HasSubstr(path.string()));
  std::filesystem::remove(path);
  EXPECT_EQ(read(path).status().code(), StatusCode::kNotFound);
}

TEST(Npy, RefusesWhatIsNoArray) {
  struct Bad {
    std::string text;
    StatusCode code;
    const char *message;
  };
  using enum StatusCode;
  auto with = [](const char *descr, const char *order, const char *shape) {
    return file("{'descr': " + std::string(descr) + ", 'fortran_order': " + order +
                    ", 'shape': " + shape + ", }",
                "abcdefgh");
  };
  for (const Bad &bad : std::vector<Bad>{
           {"", kCorrupt, "does not begin"},
           {"\x93NUMPY", kCorrupt, "does not begin"},
           {file(kInts, "abcdefgh", 4), kUnsupported, "format version 4"},
           {file(kInts, "abcdefg"), kCorrupt, "take 7 bytes, its shape 8"},
           {file(kInts, "abcdefghi"), kCorrupt, "take 9 bytes, its shape 8"},
           {file(kInts, "").substr(0, 40), kCorrupt, "header of 62 bytes is cut off"},
           {with("'>i4'", "False", "(2,)"), kUnsupported, "'>i4'"},
           {with("'<c8'", "False", "(1,)"), kUnsupported, "'<c8'"},
           {with("[('a', '<i4')]", "False", "(2,)"), kUnsupported, "records"},
           {with("'<i4'", "True", "(2,)"), kUnsupported, "numpy.ascontiguousarray"},
           {with("'<i4'", "False", "2"), kCorrupt, "its shape is no tuple"},
           {with("'<i4'", "False", "(2"), kCorrupt, "its shape is no tuple"},
           {with("'<i4'", "False", "(-2,)"), kCorrupt, "its shape (-2,) is none"},
           {with("'<i4'", "False", "(x,)"), kCorrupt, "its shape (x,) is none"},
           {with("'<i4'", "False", "(99999999999999999999,)"), kCorrupt, "is none"},
           {with("'<i4'", "False", "(4611686018427387904, 4)"), kCorrupt, "more than there can be"},
           {file("{'fortran_order': False, 'shape': (), }", ""), kCorrupt, "no descr"},
           {file("{'descr': '<i4', 'shape': (2,), }", "abcdefgh"), kCorrupt, "no fortran_order"}}) {
    auto array = parsed(bad.text);
    ASSERT_FALSE(array.isOk()) << bad.message;
    EXPECT_EQ(array.status().code(), bad.code) << array.status().toString();
    EXPECT_THAT(array.status().toString(), HasSubstr(bad.message));
  }
}

TEST(Npy, SurvivesEveryTruncationAndFlippedByte) {
  std::string good = file(kInts, "abcdefgh");
  for (size_t size = 0; size < good.size(); ++size)
    EXPECT_FALSE(parsed(good.substr(0, size)).isOk()) << size;
  for (size_t at = 0; at < good.size(); ++at)
    for (int value = 0; value < 256; ++value) {
      std::string bad = good;
      bad[at] = static_cast<char>(value);
      auto array = parsed(bad);
      if (array.isOk()) {
        EXPECT_EQ(array->bytes.size(), 8U);
      }
    }
}

} // namespace
} // namespace platen::npy
