#include "launch/runs/run_chat.h"

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "data/text/json_value.h"

namespace launch {

void keep_chat(const RunFolder& folder, const std::optional<data::ChatForm>& form) {
  if (!form) return;
  const nlohmann::json json = {{"template", form->name}, {"system", form->system}};
  write_file(folder.chat(), json.dump(2) + "\n");
}

std::optional<data::ChatForm> read_chat(const RunFolder& folder) {
  std::error_code error;
  if (!std::filesystem::exists(folder.chat(), error)) return std::nullopt;
  std::ifstream file(folder.chat(), std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const nlohmann::json json = data::parse_json(text, folder.chat().string());
  const data::JsonValue value(json, folder.chat().string());
  return data::ChatForm{.name = value["template"].text(), .system = value["system"].text("")};
}

}  // namespace launch
