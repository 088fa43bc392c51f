// What happens to a text before it is cut into pieces: bad bytes, spaces, dummy prefix.
#pragma once

#include <string>
#include <string_view>

#include "runtime/text/section_view.h"

namespace platen::text {

/// U+2581, which stands for a space inside pieces.
inline constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";
inline constexpr char32_t kSpaceCodepoint = 0x2581;

/// `text` as valid UTF-8 with the section's whitespace rules applied; at most 3 bytes a byte,
/// plus 3. One pass.
std::string normalize(const SectionView &section, std::string_view text);

} // namespace platen::text
