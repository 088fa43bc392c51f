// Reading JSON whose shape nobody vouches for: absent and mistyped members read as empty values.
#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace platen::compiler {

/// A part of a file as messages show it, cut short.
inline std::string shown(const nlohmann::json &value) {
  std::string text = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return text.size() > 160 ? text.substr(0, 160) + "..." : text;
}

/// The member, or null.
inline const nlohmann::json &child(const nlohmann::json &value, const char *key) {
  static const nlohmann::json kNull;
  if (!value.is_object())
    return kNull;
  auto found = value.find(key);
  return found != value.end() ? *found : kNull;
}

inline std::string text(const nlohmann::json &value) {
  return value.is_string() ? value.get<std::string>() : "";
}
inline bool flag(const nlohmann::json &value, bool otherwise = false) {
  return value.is_boolean() ? value.get<bool>() : otherwise;
}

/// The members of a "Sequence", or the one thing itself; null gives none.
inline std::vector<nlohmann::json> sequence(const nlohmann::json &value, const char *members) {
  if (value.is_null())
    return {};
  const nlohmann::json &list = child(value, members);
  if (text(child(value, "type")) != "Sequence" || !list.is_array())
    return {value};
  std::vector<nlohmann::json> all;
  for (const nlohmann::json &member : list)
    for (nlohmann::json &inner : sequence(member, members)) // sequences nest
      all.push_back(std::move(inner));
  return all;
}

} // namespace platen::compiler
