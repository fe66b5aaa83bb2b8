#include "data/files/file_kind.h"

namespace data {
namespace {

struct Kind {
  std::string_view mark;
  size_t at = 0;
  const char* what = "";
};

constexpr Kind kKinds[] = {
    {kGzipMark, 0, "is packed twice, the inner time by gzip; unpack it once"},
    {{"\xFD"
      "7zXZ\0",
      6},
     0,
     "is packed by xz; unpack it first (xz -d), or pack it by gzip or zstd"},
    {"BZh91AY&SY", 0, "is packed by bzip2; unpack it first (bzip2 -d), or pack it by gzip or zstd"},
    {kZstdMark, 0, "is packed twice, the inner time by zstd; unpack it once"},
    {"PK\x03\x04", 0, "is a zip archive or a document made of one; give the plain text files in it"},
    {"7z\xBC\xAF\x27\x1C", 0, "is a 7z archive; give the plain text files in it"},
    {"ustar", 257, "is a tar archive; unpack it (tar -x) and give the text files in it"},
    {"%PDF-", 0, "is a PDF document; give its text as a plain file"},
    {"PAR1", 0, "is a Parquet file, which is read from its end; give it as a file of its own, not packed and no pipe"},
    {"\x89HDF\r\n\x1A\n", 0, "is an HDF5 file, such as prepare writes, and not the text for one"},
    {{"\xFF\xFE\0\0", 4}, 0, "is written in UTF-32; legal is UTF-8 (iconv -f UTF-32 -t UTF-8)"},
    {"\xFF\xFE", 0, "is written in UTF-16; legal is UTF-8 (iconv -f UTF-16 -t UTF-8)"},
    {"\xFE\xFF", 0, "is written in UTF-16; legal is UTF-8 (iconv -f UTF-16 -t UTF-8)"},
};

}  // namespace

std::string kind_that_is_no_text(std::string_view content) {
  for (const Kind& kind : kKinds) {
    if (content.size() >= kind.at && content.substr(kind.at).starts_with(kind.mark)) return kind.what;
  }
  return "";
}

}  // namespace data
