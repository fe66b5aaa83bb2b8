// defines: write_messages, read_messages: conversations as parts hold them
#pragma once
#include "data/chat/conversation.h"
#include "data/prepare/parts.h"

namespace data {

void write_messages(PartWriter& part, const Conversation& messages);
Conversation read_messages(PartReader& part);

}  // namespace data
