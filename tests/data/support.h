// defines: TemporaryFolder, error_of, write_file, gzip_file, zstd_packed, random_text, small_tokenizer, read_file
#pragma once
#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizers/sentencepiece_tokenizer.h"
#include "parallel/base/fault.h"
#include "parallel/base/random.h"

namespace data_tests {

/// A folder of its own for one test, removed with everything in it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "moetrain-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder " + name);
    path_ = name;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  const std::filesystem::path& path() const { return path_; }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& entry : std::filesystem::directory_iterator(path_))
      all.push_back(entry.path().filename().string());
    return all;
  }

 private:
  std::filesystem::path path_;
};

/// The message of the UserError that `action` must throw.
template <class Action>
std::string error_of(const Action& action) {
  try {
    action();
  } catch (const parallel::UserError& error) {
    return error.what();
  }
  ADD_FAILURE() << "no UserError";
  return "";
}

inline void write_file(const std::filesystem::path& path, std::string_view bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void gzip_file(const std::filesystem::path& path, std::string_view bytes) {
  std::filesystem::create_directories(path.parent_path());
  gzFile file = gzopen(path.c_str(), "wb9");
  gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
  gzclose(file);
}

inline std::string zstd_packed(std::string_view bytes, int window_log = 0) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, window_log);
  std::string packed(ZSTD_compressBound(bytes.size()) + 64, '\0');
  ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
  ZSTD_outBuffer out{packed.data(), packed.size(), 0};
  // A size that is known beforehand makes the window smaller.
  if (window_log > 0) ZSTD_compressStream2(context, &out, &in, ZSTD_e_continue);
  const size_t left = ZSTD_compressStream2(context, &out, &in, ZSTD_e_end);
  ZSTD_freeCCtx(context);
  EXPECT_EQ(left, 0u);
  packed.resize(out.pos);
  return packed;
}

inline void append_utf8(std::string& text, uint32_t c) {
  if (c < 0x80) {
    text += static_cast<char>(c);
  } else if (c < 0x800) {
    text += {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 63))};
  } else if (c < 0x10000) {
    text += {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 63)),
             static_cast<char>(0x80 | (c & 63))};
  } else {
    text += {static_cast<char>(0xF0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 63)),
             static_cast<char>(0x80 | (c >> 6 & 63)), static_cast<char>(0x80 | (c & 63))};
  }
}

/// Valid UTF-8 of all planes, rich in what tokenizers trip over: runs of spaces, tabs, newlines, zero bytes, control
/// pieces spelled out, the space mark, combining characters, no-break spaces.
inline std::string random_text(uint64_t seed, int64_t characters) {
  static const std::vector<std::string> kTraps = {" ",
                                                  "  ",
                                                  "   ",
                                                  "\n",
                                                  "\n\n",
                                                  "\t",
                                                  "\r\n",
                                                  "</s>",
                                                  "<s>",
                                                  "<unk>",
                                                  "<0x0A>",
                                                  "\xE2\x96\x81",
                                                  "\xC2\xA0",
                                                  "e\xCC\x81",
                                                  "\xE2\x96\x85",
                                                  "\xEF\xBB\xBF",
                                                  "\xE2\x80\x8B",
                                                  "the",
                                                  " the",
                                                  " of",
                                                  "\xEF\xBF\xBD",
                                                  "\xF0\x9F\x98\x80",
                                                  std::string(1, '\0')};
  const parallel::RandomStream random(seed, "random text");
  std::string text;
  for (int64_t i = 0; i < characters; ++i) {
    const int64_t kind = random.below(3 * i, 4);
    const auto draw = [&](int64_t bound) { return static_cast<uint32_t>(random.below(3 * i + 1, bound)); };
    if (kind == 0) text += kTraps[draw(static_cast<int64_t>(kTraps.size()))];
    if (kind == 1) append_utf8(text, 0x20 + draw(0x60));
    if (kind == 2) append_utf8(text, 0xA0 + draw(0x2000));
    if (kind == 3) {
      const uint32_t c = draw(0x110000);
      append_utf8(text, c >= 0xD800 && c < 0xE000 ? 'x' : c);
    }
  }
  return text;
}

/// Sentences of made-up words: enough repetition for a vocabulary, different for each seed.
inline std::string sentences(uint64_t seed, int64_t count) {
  static const char* kWords[] = {"expert", "router", "token", "d'été",   "Straße", "the",      "of",    "and",
                                 "señal",  "größer", "load",  "balance", "gate",   "capacity", "train", "page"};
  const parallel::RandomStream random(seed, "sentences");
  std::string text;
  for (int64_t i = 0; i < count * 8; ++i) {
    text += kWords[random.below(i, 16)];
    text += i % 8 == 7 ? (i % 24 == 23 ? ".\n" : ". ") : " ";
  }
  return text;
}

/// A trained vocabulary of 360 pieces, made once.
inline const std::shared_ptr<const data::Tokenizer>& small_tokenizer() {
  static const std::string text = sentences(1, 400);
  static const auto tokenizer = data::train_sentencepiece({text}, {.vocabulary_size = 360});
  return tokenizer;
}

}  // namespace data_tests
