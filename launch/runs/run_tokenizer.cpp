#include "launch/runs/run_tokenizer.h"

#include <fstream>
#include <iterator>
#include <optional>

#include "data/hdf5/checksum.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

/// What its hash is taken of.
std::string content_of(const data::Tokenizer& tokenizer) { return tokenizer.kind() + '\0' + tokenizer.serialized(); }

std::optional<std::string> read_content(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace

void keep_tokenizer(const RunFolder& folder, const data::Tokenizer& tokenizer) {
  const std::string content = content_of(tokenizer);
  if (read_content(folder.tokenizer()) != content) write_file(folder.tokenizer(), content);
}

std::shared_ptr<const data::Tokenizer> read_tokenizer(const RunFolder& folder, const std::string& tokenizer_hash,
                                                      const data::TokenizerTable& tokenizers) {
  std::error_code error;
  if (!std::filesystem::exists(folder.tokenizer(), error)) return nullptr;
  const std::string content = read_content(folder.tokenizer()).value_or("");
  if (data::checksum(content.data(), content.size()) != tokenizer_hash) {
    parallel::user_error(folder.tokenizer().string(), " is damaged, or not the tokenizer that this run was trained ",
                         "with (", tokenizer_hash, "); legal: --data with the run's token file, which holds it too");
  }
  const size_t end = content.find('\0');
  return tokenizers.at(content.substr(0, end)).load(content.substr(end + 1));
}

}  // namespace launch
