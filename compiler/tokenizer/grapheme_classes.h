// What user-perceived characters are made of: the class of each code point (UAX #29).
#pragma once

#include <cstdint>
#include <vector>

namespace platen::compiler {

/// runtime/text's GraphemeClass of every code point.
std::vector<uint8_t> graphemeClasses();

} // namespace platen::compiler
