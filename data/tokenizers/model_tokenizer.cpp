#include "data/tokenizers/model_tokenizer.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

#include "data/tokenizers/hugging_face_tokenizer.h"
#include "data/tokenizers/sentencepiece_model.h"
#include "parallel/base/fault.h"
#include "parallel/base/printable.h"

namespace data {
namespace {

std::string read_tokenizer_file(const std::filesystem::path& path) {
  const std::string shown = parallel::printable(path.string());
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) parallel::user_error(shown, " is no file");
  const auto size = std::filesystem::file_size(path, error);
  if (!error && size > kMostTokenizerFileBytes) {
    parallel::user_error(shown, " has ", size, " bytes; legal: at most ", kMostTokenizerFileBytes,
                         " in a tokenizer's file");
  }
  std::ifstream file(path, std::ios::binary);
  std::string content(std::istreambuf_iterator<char>(file), {});
  if (error || !file) parallel::user_error(shown, " cannot be read: ", std::strerror(errno));
  return content;
}

/// Those of `names` that are in the folder and are not there yet.
void add_files(const std::filesystem::path& folder, const std::vector<std::string>& names, TokenizerFiles& files) {
  for (const std::string& name : names) {
    std::error_code error;
    if (!files.contains(name) && std::filesystem::exists(folder / name, error)) {
      files[name] = read_tokenizer_file(folder / name);
    }
  }
}

}  // namespace

std::shared_ptr<const Tokenizer> read_model_tokenizer(const std::filesystem::path& path) {
  std::error_code unreadable;  // which read_tokenizer_file then reports
  const bool is_folder = std::filesystem::is_directory(path, unreadable);
  const std::filesystem::path folder = is_folder ? path : path.parent_path();
  TokenizerFiles files;
  if (is_folder) {
    add_files(folder, tokenizer_file_names(), files);
  } else {
    std::string content = read_tokenizer_file(path);
    const size_t first = content.find_first_not_of(" \t\r\n");
    const bool is_json = first != std::string::npos && content[first] == '{';
    files[is_json ? kTokenizerJson : kSentencePieceModel] = std::move(content);
    add_files(folder, {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"},
              files);
  }
  const std::string in_messages = folder.empty() ? "" : parallel::printable(folder.string()) + "/";
  const bool has_json = files.contains(kTokenizerJson);
  const bool has_model = files.contains(kSentencePieceModel) || files.contains("spiece.model") ||
                         files.contains("sentencepiece.bpe.model");
  if (!has_json && !has_model) {
    parallel::user_error(in_messages, " holds no tokenizer; legal: tokenizer.json, tokenizer.model, spiece.model or ",
                         "sentencepiece.bpe.model");
  }
  // Only where nothing else says what ends a text: they belong to the model, not to its tokenizer.
  if (has_json && !end_of_text_name(files, in_messages)) {
    add_files(folder, {"generation_config.json"}, files);
    if (!end_of_text_number(files, in_messages)) add_files(folder, {"config.json"}, files);
  }
  return has_json ? make_hugging_face(std::move(files), in_messages)
                  : make_sentencepiece_model(std::move(files), in_messages);
}

}  // namespace data
