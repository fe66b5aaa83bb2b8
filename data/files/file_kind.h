// defines: kGzipMark, kZstdMark, kind_that_is_no_text
#pragma once
#include <string>
#include <string_view>

namespace data {

/// What packed files begin with, and no UTF-8 text.
constexpr std::string_view kGzipMark = "\x1F\x8B\x08", kZstdMark = "\x28\xB5\x2F\xFD";

/// What the first bytes say of files that are often taken for text and are none, with what to do about it: "is packed
/// by xz; unpack it first (xz -d)"; empty for everything else. Some of them, such as archives of plain files, are valid
/// UTF-8 and would be trained on.
std::string kind_that_is_no_text(std::string_view content);

}  // namespace data
