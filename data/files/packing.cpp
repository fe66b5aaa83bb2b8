#include "data/files/packing.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <memory>

#include "data/files/file_kind.h"
#include "parallel/base/fault.h"

namespace data {
namespace {

constexpr size_t kUnpackStep = 1 << 18;  // bytes of text
constexpr int kLargestWindowLog = 27;    // zstd: 128 MiB, what `zstd` itself unpacks without being asked to

/// The text so far, and where in the packed file it comes from.
class UnpackedText {
 public:
  UnpackedText(const std::filesystem::path& path, const char* packing, std::string_view packed, int64_t most_bytes)
      : path_(path), packing_(packing), packed_(packed), input_(packed), most_bytes_(most_bytes) {}

  std::string_view input() const { return input_; }
  void skip(size_t bytes) { input_.remove_prefix(std::min(bytes, input_.size())); }

  /// Room for kUnpackStep bytes more.
  char* room() {
    filled_ = text_.size();
    text_.resize(filled_ + kUnpackStep);
    return text_.data() + filled_;
  }
  /// So many of them have been written, from so many bytes of the file.
  void take(size_t written, size_t read) {
    text_.resize(filled_ + written);
    skip(read);
    const auto size = static_cast<int64_t>(text_.size());
    if (size > most_bytes_) {
      parallel::user_error(path_.string(), ": unpacks to more than ", most_bytes_, " bytes, the limit for a file");
    }
    const auto packed_bytes = static_cast<int64_t>(packed_.size());
    if (size > kHarmlessBytes && size / kMostExpansion > packed_bytes) {
      parallel::user_error(path_.string(), ": ", packed_bytes, " bytes unpack to more than ", kMostExpansion,
                           " times as many; this is no text");
    }
  }
  std::string text() { return std::move(text_); }

  [[noreturn]] void truncated() const {
    parallel::user_error(path_.string(), ": the ", packing_, " file is truncated: it ends at byte ", packed_.size(),
                         ", after ", filled_, " bytes of text");
  }
  [[noreturn]] void damaged(const char* reason) const {
    parallel::user_error(path_.string(), ": not a ", packing_, " file, or damaged: ", reason, ", at byte ",
                         packed_.size() - input_.size());
  }

 private:
  const std::filesystem::path& path_;
  const char* packing_;
  std::string_view packed_, input_;
  int64_t most_bytes_;
  std::string text_;
  size_t filled_ = 0;  // bytes of text before the step that is under way
};

void unpack_gzip_member(z_stream& stream, UnpackedText& text) {
  int result = Z_OK;
  while (result != Z_STREAM_END) {
    const std::string_view input = text.input();
    const size_t given = std::min<size_t>(input.size(), 1 << 30);
    stream.next_out = reinterpret_cast<Bytef*>(text.room());
    stream.avail_out = kUnpackStep;
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input.data()));
    stream.avail_in = static_cast<uInt>(given);
    result = inflate(&stream, Z_NO_FLUSH);
    const size_t read = given - stream.avail_in;
    const bool starved = result == Z_OK && read == input.size() && stream.avail_out > 0;
    if (result == Z_BUF_ERROR || starved) text.truncated();
    if (result != Z_OK && result != Z_STREAM_END) {
      text.skip(read);
      text.damaged(stream.msg ? stream.msg : "no reason");
    }
    text.take(kUnpackStep - stream.avail_out, read);
  }
}

std::string unpack_gzip(const std::filesystem::path& path, std::string_view packed, int64_t most_bytes) {
  constexpr int kGzipOnly = 16 + MAX_WBITS;
  z_stream stream{};
  parallel::check_internal(inflateInit2(&stream, kGzipOnly) == Z_OK, "zlib cannot start");
  const std::unique_ptr<z_stream, int (*)(z_stream*)> end(&stream, inflateEnd);
  UnpackedText text(path, "gzip", packed, most_bytes);
  while (!text.input().empty()) {
    unpack_gzip_member(stream, text);
    inflateReset(&stream);
    // Padding with zero bytes after the last member is legal.
    text.skip(std::min(text.input().find_first_not_of('\0'), text.input().size()));
  }
  return text.text();
}

std::string unpack_zstd(const std::filesystem::path& path, std::string_view packed, int64_t most_bytes) {
  const std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context(ZSTD_createDCtx(), ZSTD_freeDCtx);
  parallel::check_internal(context != nullptr, "zstd cannot start");
  ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, kLargestWindowLog);
  UnpackedText text(path, "zstd", packed, most_bytes);
  size_t left = 1;  // of the frame; 0 where it has ended
  bool inside = false;
  while (!text.input().empty() || left != 0) {
    ZSTD_outBuffer out{text.room(), kUnpackStep, 0};
    ZSTD_inBuffer in{text.input().data(), text.input().size(), 0};
    left = ZSTD_decompressStream(context.get(), &out, &in);
    if (ZSTD_isError(left)) {
      if (inside) text.skip(in.pos);  // else where the frame should begin
      text.damaged(ZSTD_getErrorName(left));
    }
    inside = left != 0;
    if (left != 0 && in.pos == in.size && out.pos < out.size) text.truncated();
    text.take(out.pos, in.pos);
  }
  return text.text();
}

}  // namespace

const std::vector<Packing>& packings() {
  static const std::vector<Packing> all{{"gzip", ".gz", kGzipMark, unpack_gzip},
                                        {"zstd", ".zst", kZstdMark, unpack_zstd}};
  return all;
}

}  // namespace data
