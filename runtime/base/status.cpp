// Spelling and composition of Status. Failure is rare, so nothing here is tuned.
#include "runtime/base/status.h"

namespace platen::base {

std::string_view codeName(StatusCode code) {
  switch (code) {
  case StatusCode::kOk:
    return "OK";
  case StatusCode::kInvalidArgument:
    return "INVALID_ARGUMENT";
  case StatusCode::kCorrupt:
    return "CORRUPT";
  case StatusCode::kUnsupported:
    return "UNSUPPORTED";
  case StatusCode::kNotFound:
    return "NOT_FOUND";
  case StatusCode::kResourceExhausted:
    return "RESOURCE_EXHAUSTED";
  case StatusCode::kCancelled:
    return "CANCELLED";
  case StatusCode::kDeviceLost:
    return "DEVICE_LOST";
  case StatusCode::kIo:
    return "IO";
  case StatusCode::kInternal:
    return "INTERNAL";
  }
  return "UNKNOWN";
}

Status::Status(StatusCode code, std::string message, std::string origin) {
  if (code != StatusCode::kOk)
    rep_ = std::make_shared<const Rep>(Rep{code, std::move(message), std::move(origin)});
}

Status Status::at(std::string_view origin) const {
  if (isOk())
    return *this;
  std::string joined(origin);
  if (!rep_->origin.empty())
    joined.append(": ").append(rep_->origin);
  return {rep_->code, rep_->message, std::move(joined)};
}

std::string Status::toString() const {
  std::string text(codeName(code()));
  if (isOk())
    return text;
  if (!rep_->origin.empty())
    text.append(": ").append(rep_->origin);
  return text.append(": ").append(rep_->message);
}

} // namespace platen::base
