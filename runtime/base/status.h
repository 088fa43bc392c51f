// Status and Result: how every room reports failure. No exception crosses a room.
//
// A Status is Ok or carries a code, a message (what went wrong, with the offending value and the
// limit it broke, and what to do about it) and an origin (where: a file, an ONNX node, a plan
// section, a request). Both types are values; they are safe to copy between threads. Ok costs one
// null pointer.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace platen::base {

/// Each code says when to use it. The numeric values are part of the C ABI and never change.
enum class StatusCode : int {
  kOk = 0,
  /// The caller passed something that can never work: a bad option, a malformed request, a wrong
  /// shape.
  kInvalidArgument = 1,
  /// Bytes read from a file or the network contradict their own format, sizes or hashes.
  kCorrupt = 2,
  /// The input is well formed, but platen has no implementation for it (operator, dtype, CPU,
  /// version).
  kUnsupported = 3,
  /// A named thing does not exist: a file, a tensor, a request id.
  kNotFound = 4,
  /// A limit was reached that may be free again later: pages, memory, queue places. Retrying can
  /// help.
  kResourceExhausted = 5,
  /// The caller withdrew the work.
  kCancelled = 6,
  /// A device stopped answering; everything on it is lost.
  kDeviceLost = 7,
  /// The operating system refused an I/O operation.
  kIo = 8,
  /// A broken invariant inside platen itself. Always a bug in platen.
  kInternal = 9,
};

/// The stable spelling that messages, JSON output and documentation use, e.g. "CORRUPT".
std::string_view codeName(StatusCode code);

class [[nodiscard]] Status {
public:
  Status() = default;
  Status(StatusCode code, std::string message, std::string origin = {});

  static Status ok() { return {}; }
  bool isOk() const { return rep_ == nullptr; }
  explicit operator bool() const { return isOk(); }
  StatusCode code() const { return rep_ ? rep_->code : StatusCode::kOk; }
  std::string_view message() const { return rep_ ? std::string_view(rep_->message) : ""; }
  std::string_view origin() const { return rep_ ? std::string_view(rep_->origin) : ""; }
  /// The same failure with `origin` put before its present origin: "outer: inner".
  Status at(std::string_view origin) const;
  /// "CORRUPT: model.plan: section 'weights': message".
  std::string toString() const;

private:
  struct Rep {
    StatusCode code;
    std::string message, origin;
  };
  std::shared_ptr<const Rep> rep_;
};

inline Status invalidArgument(std::string message, std::string origin = {}) {
  return {StatusCode::kInvalidArgument, std::move(message), std::move(origin)};
}
inline Status corrupt(std::string message, std::string origin = {}) {
  return {StatusCode::kCorrupt, std::move(message), std::move(origin)};
}
inline Status unsupported(std::string message, std::string origin = {}) {
  return {StatusCode::kUnsupported, std::move(message), std::move(origin)};
}
inline Status notFound(std::string message, std::string origin = {}) {
  return {StatusCode::kNotFound, std::move(message), std::move(origin)};
}
inline Status resourceExhausted(std::string message, std::string origin = {}) {
  return {StatusCode::kResourceExhausted, std::move(message), std::move(origin)};
}
inline Status ioError(std::string message, std::string origin = {}) {
  return {StatusCode::kIo, std::move(message), std::move(origin)};
}
inline Status internalError(std::string message, std::string origin = {}) {
  return {StatusCode::kInternal, std::move(message), std::move(origin)};
}

/// A value or the reason why there is none. `value()` requires `isOk()`.
template <typename T> class [[nodiscard]] Result {
public:
  Result(T value) : value_(std::move(value)) {}
  Result(Status status) : status_(std::move(status)) {
    if (status_.isOk())
      status_ = internalError("a Result was built from an Ok status without a value");
  }
  bool isOk() const { return value_.has_value(); }
  explicit operator bool() const { return isOk(); }
  const Status &status() const { return status_; }
  T &value() & { return *value_; }
  const T &value() const & { return *value_; }
  T &&value() && { return std::move(*value_); }
  T *operator->() { return &*value_; }
  const T *operator->() const { return &*value_; }
  T &operator*() & { return *value_; }
  const T &operator*() const & { return *value_; }
  T &&operator*() && { return std::move(*value_); }

private:
  std::optional<T> value_;
  Status status_;
};

} // namespace platen::base

#define PLATEN_CONCAT_INNER(a, b) a##b
#define PLATEN_CONCAT(a, b) PLATEN_CONCAT_INNER(a, b)
/// Returns from the enclosing function if `expr` (a Status) failed.
#define PLATEN_RETURN_IF_ERROR(expr)                                                               \
  do {                                                                                             \
    if (::platen::base::Status platenStatus = (expr); !platenStatus.isOk())                        \
      return platenStatus;                                                                         \
  } while (false)
/// Declares `lhs` from the value of `expr` (a Result), or returns its Status.
#define PLATEN_ASSIGN_OR_RETURN(lhs, expr)                                                         \
  auto PLATEN_CONCAT(platenResult, __LINE__) = (expr);                                             \
  if (!PLATEN_CONCAT(platenResult, __LINE__).isOk())                                               \
    return PLATEN_CONCAT(platenResult, __LINE__).status();                                         \
  lhs = std::move(PLATEN_CONCAT(platenResult, __LINE__)).value()
