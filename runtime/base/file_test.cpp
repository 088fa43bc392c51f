// Mapped files, atomic files and buffers against the file system: what is written is read back;
// nothing half-written stays.
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/base/aligned_buffer.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/mapped_file.h"

namespace platen::base {
namespace {

class Files : public testing::Test {
protected:
  Files() {
    std::string pattern = (std::filesystem::temp_directory_path() / "platen_files_XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  ~Files() override { std::filesystem::remove_all(folder_); }
  std::string file(const char *name) const { return folder_ / name; }
  size_t count() const {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder_), {}));
  }
  static std::string slurp(const std::string &path) {
    std::ifstream stream(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  std::filesystem::path folder_;
};

TEST_F(Files, CommitMakesTheWholeFileAppear) {
  auto out = AtomicFile::create(file("a"));
  ASSERT_TRUE(out.isOk()) << out.status().toString();
  std::string expected = "head";
  ASSERT_TRUE(out->append("head").isOk());
  // Larger than the writer's buffer, in pieces that do not divide it.
  for (int i = 0; i < 500; ++i) {
    std::string piece(7919, static_cast<char>('a' + i % 26));
    expected += piece;
    ASSERT_TRUE(out->append(piece).isOk());
  }
  ASSERT_TRUE(out->appendZeros(10000).isOk());
  expected.append(10000, '\0');
  ASSERT_TRUE(out->overwrite(1, std::as_bytes(std::span("EA", 2))).isOk());
  expected.replace(1, 2, "EA");
  EXPECT_EQ(out->size(), expected.size());
  EXPECT_FALSE(std::filesystem::exists(file("a")));
  ASSERT_TRUE(out->commit().isOk());
  EXPECT_TRUE(slurp(file("a")) == expected);
  EXPECT_EQ(count(), 1U);
}

TEST_F(Files, AbandonedWriterLeavesTheOldFileAndNoTemporary) {
  std::ofstream(file("a")) << "old";
  {
    auto out = AtomicFile::create(file("a"));
    ASSERT_TRUE(out.isOk());
    ASSERT_TRUE(out->append(std::string(3 << 20, 'x')).isOk());
  }
  EXPECT_EQ(slurp(file("a")), "old");
  EXPECT_EQ(count(), 1U);
}

TEST_F(Files, MovedWriterRemovesTheTemporaryOnce) {
  auto out = AtomicFile::create(file("a"));
  ASSERT_TRUE(out.isOk());
  {
    AtomicFile other = std::move(*out);
    ASSERT_TRUE(other.append("x").isOk());
    EXPECT_EQ(count(), 1U);
  }
  EXPECT_EQ(count(), 0U);
}

TEST_F(Files, SecondWriterIsRefusedUntilTheFirstEnds) {
  {
    auto first = AtomicFile::create(file("a"));
    ASSERT_TRUE(first.isOk());
    auto second = AtomicFile::create(file("a"));
    ASSERT_FALSE(second.isOk());
    EXPECT_EQ(second.status().code(), StatusCode::kResourceExhausted);
    ASSERT_TRUE(first->append("first").isOk());
    ASSERT_TRUE(first->commit().isOk());
  }
  EXPECT_EQ(slurp(file("a")), "first");
  EXPECT_TRUE(AtomicFile::create(file("a")).isOk());
}

TEST_F(Files, StaleTemporaryIsTakenOver) {
  std::ofstream(file("a.tmp")) << "left by a killed process, longer than what follows";
  auto out = AtomicFile::create(file("a"));
  ASSERT_TRUE(out.isOk());
  ASSERT_TRUE(out->append("new").isOk());
  ASSERT_TRUE(out->commit().isOk());
  EXPECT_EQ(slurp(file("a")), "new");
}

TEST_F(Files, WriteErrorsStick) {
  auto missing = AtomicFile::create(file("no/such/folder"));
  EXPECT_EQ(missing.status().code(), StatusCode::kIo);
  // A limit on file sizes fails a write in the middle, as a full disk does.
  auto out = AtomicFile::create(file("full"));
  ASSERT_TRUE(out.isOk());
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small{1'500'000, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  Status status = out->append(std::string(3 << 20, 'x'));
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(status.code(), StatusCode::kIo);
  EXPECT_EQ(out->append("x").code(), StatusCode::kIo);
  EXPECT_EQ(out->commit().code(), StatusCode::kIo);
  EXPECT_FALSE(std::filesystem::exists(file("full")));
}

TEST_F(Files, MapsWhatTheFileHolds) {
  std::string text(100'000, 'q');
  text.back() = 'z';
  std::ofstream(file("a"), std::ios::binary) << text;
  auto mapped = MappedFile::open(file("a"));
  ASSERT_TRUE(mapped.isOk()) << mapped.status().toString();
  MappedFile moved = std::move(*mapped);
  ASSERT_EQ(moved.bytes().size(), text.size());
  EXPECT_EQ(std::memcmp(moved.bytes().data(), text.data(), text.size()), 0);
  for (auto advice : {MappedFile::Advice::kSequential, MappedFile::Advice::kRandom,
                      MappedFile::Advice::kWillNeed, MappedFile::Advice::kDontNeed}) {
    moved.advise(advice, 5000, ~uint64_t{0});
    moved.advise(advice, ~uint64_t{0}, 1);
  }
  EXPECT_EQ(std::memcmp(moved.bytes().data(), text.data(), text.size()), 0);
  EXPECT_TRUE(mapped->bytes().empty());
}

TEST_F(Files, OpenRefusesWhatCannotBeMapped) {
  EXPECT_EQ(MappedFile::open(file("absent")).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(MappedFile::open(folder_).status().code(), StatusCode::kIo);
  ASSERT_EQ(mkfifo(file("pipe").c_str(), 0600), 0);
  EXPECT_EQ(MappedFile::open(file("pipe")).status().code(), StatusCode::kIo);
  std::ofstream(file("empty"));
  auto empty = MappedFile::open(file("empty"));
  ASSERT_TRUE(empty.isOk());
  EXPECT_TRUE(empty->bytes().empty());
}

TEST(AlignedBuffer, IsAlignedZeroedAndWritableToTheEnd) {
  for (uint64_t bytes : {uint64_t{1}, uint64_t{4096}, uint64_t{(2 << 20) - 1}, uint64_t{2 << 20},
                         uint64_t{5 << 20}}) {
    auto buffer = AlignedBuffer::create(bytes, "test");
    ASSERT_TRUE(buffer.isOk());
    ASSERT_EQ(buffer->size(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % (bytes >= (2 << 20) ? 2 << 20 : 4096),
              0U);
    for (std::byte value : buffer->bytes())
      ASSERT_EQ(value, std::byte{0});
    std::memset(buffer->data(), 1, bytes + 64); // the slack belongs to us
    AlignedBuffer moved = std::move(*buffer);
    EXPECT_EQ(moved.bytes()[bytes - 1], std::byte{1});
  }
}

TEST(AlignedBuffer, RefusesWhatNoMachineHas) {
  for (uint64_t bytes : {~uint64_t{0}, uint64_t{1} << 63, uint64_t{1} << 47}) {
    auto buffer = AlignedBuffer::create(bytes, "KV cache");
    EXPECT_EQ(buffer.status().code(), StatusCode::kResourceExhausted);
    EXPECT_EQ(buffer.status().origin(), "KV cache");
  }
  EXPECT_EQ(AlignedBuffer::create(0, "x").status().code(), StatusCode::kInvalidArgument);
}

} // namespace
} // namespace platen::base
