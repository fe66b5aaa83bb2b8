// What a run's conversations are written by, kept in its folder.
// defines: keep_chat, read_chat
#pragma once
#include <optional>

#include "data/chat/chat_template.h"
#include "launch/runs/run_folder.h"

namespace launch {

/// Writes the folder's chat.json, unless the token file has no conversations.
void keep_chat(const RunFolder& folder, const std::optional<data::ChatForm>& form);

/// Nothing where the run was not trained on conversations. UserError for a file that is not what keep_chat writes.
std::optional<data::ChatForm> read_chat(const RunFolder& folder);

}  // namespace launch
