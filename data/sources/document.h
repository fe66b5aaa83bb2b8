// defines: SourceDocument
#pragma once
#include <string>

#include "data/chat/conversation.h"

namespace data {

/// One document as a source gives it.
struct SourceDocument {
  std::string name;            // for people: its file, or file and line
  std::string identity;        // what decides about order; the same wherever the files lie
  std::string key;             // what decides about held-out: all documents of one key go together
  std::string group;           // its language, or another label
  std::string text;            // valid UTF-8; of a conversation, what is said in it, one message after another
  Conversation messages = {};  // of a conversation; else none
};

}  // namespace data
