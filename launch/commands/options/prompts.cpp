#include "launch/commands/options/prompts.h"

#include <string_view>

#include "data/files/file_bytes.h"
#include "data/sources/json_line.h"
#include "data/sources/lines.h"
#include "data/sources/text_source.h"
#include "data/text/utf8.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

constexpr int64_t kMostBytes = int64_t{256} << 20;

std::string prompt_of(std::string_view line, const std::string& place) {
  const nlohmann::json object = data::parse_json_line(line, place);
  const auto prompt = object.find("prompt");
  if (prompt == object.end()) parallel::user_error(place, ": the object has no \"prompt\"");
  if (!prompt->is_string()) parallel::user_error(place, ": \"prompt\" is ", prompt->type_name(), ", not a string");
  return prompt->get<std::string>();
}

}  // namespace

void add_prompt_options(CLI::App& command, PromptOptions& options) {
  command
      .add_option("--prompt", options.prompts,
                  "text to continue, or to answer by a decoder whose encoder reads it; may be repeated; empty: the "
                  "start of a document")
      ->allow_extra_args(false);
  command.add_option("--prompts", options.file,
                     "a file of them instead: one a line, or JSON lines with \"prompt\", which are answered as such");
}

Prompts read_prompts(const PromptOptions& options) {
  if (options.file.empty()) {
    if (options.prompts.empty()) return {.texts = {""}, .option = "--prompt"};
    return {.texts = options.prompts, .option = "--prompt"};
  }
  if (!options.prompts.empty()) parallel::user_error("--prompt and --prompts contradict; legal: one of them");
  std::string content = data::read_bytes(options.file, kMostBytes);
  if (content.starts_with("\xEF\xBB\xBF")) content.erase(0, 3);  // a byte order mark
  std::string_view rest = content;
  Prompts prompts{.json = data::is_named_json_lines(options.file) || data::begins_json_lines(content, "prompt"),
                  .option = "--prompts"};
  for (int64_t number = 1; !rest.empty(); ++number) {
    std::string_view line = data::take_line(rest);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.find_first_not_of(" \t") == std::string_view::npos) continue;
    const std::string place = parallel::concat(options.file, ":", number);
    if (data::valid_utf8_prefix(line) != line.size()) {
      parallel::user_error(place, ": not UTF-8: ", data::describe_utf8_fault(line));
    }
    prompts.texts.push_back(prompts.json ? prompt_of(line, place) : std::string(line));
  }
  if (prompts.texts.empty()) parallel::user_error(options.file, ": holds no prompt; legal: one a line");
  return prompts;
}

}  // namespace launch
