// How conversations become tokens, and which of them are learned.
#include <gtest/gtest.h>

#include "data/batch.h"
#include "data/batching/packed_rows.h"
#include "data/chat/encoded_chat.h"
#include "data/datasets/target_documents.h"
#include "data/prepare/prepare.h"
#include "data/sources/json_line.h"
#include "data/tokenizers/byte_tokenizer.h"
#include "tests/data/support.h"

namespace {

using data_tests::error_of;

const data::ChatTemplateTable kTemplates = data::builtin_chat_templates();

data::Conversation conversation_of(const std::string& line) {
  return data::read_conversation(data::parse_json_line(line, "f:1"), "f:1").value();
}

/// The text with "{" and "}" around what is learned.
std::string marked(const std::string& name, const data::Conversation& conversation, const std::string& system = "",
                   bool ask = false) {
  data::ChatText chat = data::write_chat(kTemplates.at(name), {name, system}, conversation, "</s>", ask, "f:1");
  for (auto each = chat.learned.rbegin(); each != chat.learned.rend(); ++each) {
    chat.text.insert(each->second, "}");
    chat.text.insert(each->first, "{");
  }
  return chat.text;
}

const char* const kTwoTurns =
    R"({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": " Yes? "}, {"role": "user", "content": "Bye"},
        {"role": "assistant", "content": "Bye"}]})";

TEST(ChatTemplates, WriteWhatModelsAreTrainedOn) {
  const data::Conversation two = conversation_of(kTwoTurns);
  EXPECT_EQ(marked("chatml", two),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n{ Yes? "
            "<|im_end|>}\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n{Bye<|im_end|>}\n");
  EXPECT_EQ(marked("llama3", two),
            "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user"
            "<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n{Yes?<|eot_id|>}"
            "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
            "{Bye<|eot_id|>}");
  EXPECT_EQ(marked("mistral", two), "<s>[INST] Be brief.\n\nHi[/INST]{  Yes? </s>}[INST] Bye[/INST]{ Bye</s>}");
  EXPECT_EQ(marked("mistral_v1", two), "<s> [INST] Be brief.\n\nHi [/INST]{  Yes? </s>} [INST] Bye [/INST]{ Bye</s>}");
  EXPECT_EQ(marked("plain", two), "Be brief.Hi{ Yes? </s>}Bye{Bye</s>}");
}

TEST(ChatTemplates, AskForAnAnswerAndSayWhatTheSystemSays) {
  const data::Conversation question = {{"user", "Hi", false}};
  EXPECT_EQ(marked("chatml", question, "Be brief.", true),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(marked("mistral", question, "", true), "<s>[INST] Hi[/INST]");
  EXPECT_EQ(data::answer_end(kTemplates.at("chatml"), "</s>"), "<|im_end|>");
  EXPECT_EQ(data::answer_end(kTemplates.at("plain"), "<end>"), "<end>");
}

TEST(ChatTemplates, OfPromptsAndCompletionsOnlyTheCompletionIsLearned) {
  EXPECT_EQ(marked("plain", conversation_of(R"({"prompt": "1+1=", "completion": "2"})")), "1+1={2</s>}");
  EXPECT_EQ(marked("plain", conversation_of(R"({"prompt": [{"role": "user", "content": "a"},
      {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}],
      "completion": [{"role": "assistant", "content": "d"}]})")),
            "ab</s>c{d</s>}");
}

TEST(ChatTemplates, APromptThatRepeatsTheFirstMessageHasNoSay) {
  EXPECT_EQ(marked("plain", conversation_of(R"({"prompt": "a", "messages": [{"role": "user", "content": "a"},
      {"role": "assistant", "content": "b"}]})")),
            "a{b</s>}");
}

TEST(Conversations, AreRefusedByPlace) {
  const auto refusal = [](const std::string& line) { return error_of([&] { conversation_of(line); }); };
  EXPECT_EQ(refusal(R"({"messages": [{"role": "user", "content": "a"}, {"content": "b"}]})"),
            "f:1: messages[1]: the message has no \"role\"; legal: {\"role\": \"user\", \"content\": \"...\"}");
  EXPECT_EQ(refusal(R"({"messages": [{"role": "tool", "content": "a"}]})"),
            "f:1: messages[0].role: 'tool'; legal: system, user, assistant");
  EXPECT_EQ(refusal(R"({"messages": [{"role": "user", "content": 3}]})"),
            "f:1: messages[0].content: is number, not a string");
  EXPECT_EQ(refusal(R"({"prompt": "a", "completion": "b", "messages": []})"),
            "f:1: has \"messages\" and a \"prompt\" with \"completion\"; one of them is legal");
  EXPECT_EQ(refusal(R"({"prompt": "a"})"), "f:1: has a \"prompt\" and no \"completion\"");
  EXPECT_EQ(refusal(R"({"messages": "a"})"), "f:1: messages: is string, not a list of messages");
  const data::Conversation twice = {{"user", "a", false}, {"user", "b", false}};
  EXPECT_EQ(error_of([&] { marked("mistral", twice); }),
            "f:1: message 1 is of the user; this chat template lets user and assistant speak in turn, the user first");
}

/// What a message spells stays text; what the template writes is a control piece.
TEST(EncodedChat, OnlyTheTemplateWritesControlPieces) {
  const auto tokenizer = data::make_byte_tokenizer({"<|im_start|>", "<|im_end|>"});
  const auto start = static_cast<int32_t>(tokenizer->control("<|im_start|>")),
             end = static_cast<int32_t>(tokenizer->control("<|im_end|>"));
  const data::ChatText chat =
      data::write_chat(kTemplates.at("chatml"), {"chatml", ""},
                       {{"user", "<|im_end|>", false}, {"assistant", "ok", true}}, "</s>", false, "");
  const data::EncodedChat encoded = data::encode_chat(*tokenizer, chat);
  std::vector<int32_t> expected = {start};
  for (const char c : std::string("user\n<|im_end|>")) expected.push_back(c);
  for (const int32_t token : {end, int32_t{'\n'}, start}) expected.push_back(token);
  for (const char c : std::string("assistant\nok")) expected.push_back(c);
  expected.insert(expected.end(), {end, '\n'});
  EXPECT_EQ(encoded.tokens, expected);
  std::vector<uint8_t> learned(expected.size(), 0);
  for (size_t i = expected.size() - 4; i < expected.size() - 1; ++i) learned[i] = 1;  // "ok" and its end
  EXPECT_EQ(encoded.learned, learned);
  EXPECT_NE(error_of([&] {
              data::require_chat_controls(*tokenizer, {"llama3", ""}, kTemplates.at("llama3"));
            }).find("chat template 'llama3': the tokenizer has no control piece '<|begin_of_text|>'"),
            std::string::npos);
}

/// A token that spans the end of a question and the beginning of its answer is learned.
TEST(EncodedChat, ATokenAcrossTheBorderIsLearned) {
  const auto& tokenizer = data_tests::small_tokenizer();
  const std::string text = "the token router";
  const std::vector<int32_t> whole = tokenizer->encode(text);
  for (size_t border = 1; border < text.size(); ++border) {
    const data::EncodedChat encoded =
        data::encode_chat(*tokenizer, {.text = text, .controls = {}, .learned = {{border, text.size()}}});
    ASSERT_EQ(encoded.tokens, whole);
    size_t end = 0;
    for (size_t i = 0; i < whole.size(); ++i) {
      end += tokenizer->decode({whole[i]}).size();
      EXPECT_EQ(encoded.learned[i], end > border ? 1 : 0) << border << ", token " << i;
    }
  }
}

class ChatFile : public testing::Test {
 protected:
  data::TokenCorpus prepare(const std::string& lines, const std::string& chat_template, double heldout = 0) {
    data_tests::write_file(folder_ / "chats.jsonl", lines);
    data::prepare({.text = {folder_ / "chats.jsonl"},
                   .output = folder_ / "chats.h5",
                   .overwrite = data::Overwrite::kReplace,
                   .tokenizer = "byte",
                   .chat = {chat_template, ""},
                   .heldout = heldout});
    return data::TokenCorpus::open(folder_ / "chats.h5");
  }

  data_tests::TemporaryFolder folder_;
};

/// Targets as text: a dot for each that is ignored, "$" for the end of text.
std::string targets_of(const data::TargetDocuments& documents, int64_t index) {
  std::vector<int64_t> tokens, targets;
  documents.append(index, tokens, targets);
  EXPECT_EQ(static_cast<int64_t>(targets.size()), documents.length(index));
  std::string text;
  for (const int64_t target : targets) text += target < 0 ? '.' : target == 256 ? '$' : static_cast<char>(target);
  return text;
}

TEST_F(ChatFile, KeepsWhatIsLearned) {
  const data::TokenCorpus corpus = prepare(R"({"prompt": "1+1=", "completion": "2"})", "plain");
  ASSERT_EQ(corpus.documents(), 1);
  EXPECT_EQ(corpus.chat()->name, "plain");
  EXPECT_EQ(corpus.document_text(0), "1+1=2");
  EXPECT_EQ(corpus.document(0).bytes, 1);  // of the answer
  const data::TargetDocuments whole(corpus, data::Split::kTrain, 16);
  EXPECT_EQ(targets_of(whole, 0), "...2$");
  EXPECT_EQ(whole.bytes(0), 1);
  std::vector<int64_t> tokens(6), targets(6);
  std::vector<int32_t> groups(6);
  corpus.stream(data::Split::kTrain).read(0, 6, tokens.data(), targets.data(), groups.data());
  EXPECT_EQ(targets, (std::vector<int64_t>{-100, -100, -100, -100, '2', 256}));
  EXPECT_EQ(tokens, (std::vector<int64_t>{256, '1', '+', '1', '=', '2'}));
}

TEST_F(ChatFile, CutsCountsAndLeavesOut) {
  const data::TokenCorpus corpus = prepare(R"({"prompt": "a", "completion": "bcdefgh"}
{"prompt": "ab", "completion": "c"}
{"prompt": "a long question", "completion": "no"}
{"text": "xyz"}
)",
                                           "plain");
  const data::TargetDocuments documents(corpus, data::Split::kTrain, 5);
  std::vector<std::string> found;
  for (int64_t i = 0; i < documents.size(); ++i) found.push_back(targets_of(documents, i));
  std::ranges::sort(found);
  EXPECT_EQ(found, (std::vector<std::string>{".c$", "bcdef", "yz$"}));
  EXPECT_EQ(documents.cut(), 1);
  EXPECT_EQ(documents.left_out(), 1);
  for (int64_t i = 0; i < documents.size(); ++i) {
    EXPECT_EQ(documents.bytes(i), documents.length(i) == 5 ? 4 : targets_of(documents, i) == ".c$" ? 1 : 3);  // of 7
  }
  EXPECT_NE(error_of([&] {
              data::TargetDocuments(prepare(R"({"prompt": "long", "completion": "x"})", "plain"), data::Split::kTrain,
                                    3);
            }).find("none of its 1 documents has anything to learn within data.sequence_length = 3"),
            std::string::npos);
}

TEST_F(ChatFile, ConversationsAreNeverCutInTwo) {
  std::string lines;
  for (int64_t i = 0; i < 2; ++i) {
    lines += R"({"prompt": ")" + std::string(40, i == 0 ? 'a' : 'b') +
             R"(", "completion": "line\nline\nline\nline\nline\nline )" + std::to_string(i) + "\"}\n";
  }
  const data::TokenCorpus corpus = prepare(lines, "chatml", 0.3);
  EXPECT_EQ(corpus.documents(), 2);
}

TEST_F(ChatFile, ADamagedMaskIsNoticed) {
  const data::TokenCorpus corpus = prepare(R"({"prompt": "1+1=", "completion": "2"})", "plain");
  std::string bytes = data_tests::read_file(folder_ / "chats.h5");
  const size_t at = bytes.find(std::string("\0\0\0\0\1\1", 6));
  ASSERT_NE(at, std::string::npos);
  bytes[at] = 1;
  data_tests::write_file(folder_ / "damaged.h5", bytes);
  EXPECT_NE(error_of([&] { data::TokenCorpus::open(folder_ / "damaged.h5"); }).find("'/documents/learned' is damaged"),
            std::string::npos);
}

TEST_F(ChatFile, ATemplateWithoutConversationsIsAMistake) {
  EXPECT_NE(error_of([&] { prepare(R"({"text": "abc"})", "chatml"); }).find("the sources hold no conversation"),
            std::string::npos);
  EXPECT_NE(error_of([&] {
              prepare(R"({"messages": [{"role": "user", "content": "a"}]})", "chatml");
            }).find("1 conversations without an answer"),
            std::string::npos);
}

TEST(PackedRows, AreFullAndHoldEachSequenceOnce) {
  const parallel::RandomStream random(3, "lengths");
  std::vector<int64_t> lengths;
  int64_t all = 0;
  for (int64_t i = 0; i < 500; ++i) {
    lengths.push_back(1 + random.below(i, 60));
    all += lengths.back();
  }
  const data::PackedRows rows(lengths, 100);
  std::vector<int64_t> seen(lengths.size(), 0);
  for (int64_t row = 0; row < rows.size(); ++row) {
    int64_t tokens = 0;
    for (const int64_t sequence : rows.row(row)) {
      ++seen[static_cast<size_t>(sequence)];
      tokens += lengths[static_cast<size_t>(sequence)];
    }
    EXPECT_EQ(tokens, rows.tokens(row));
    EXPECT_LE(tokens, 100);
    EXPECT_GT(tokens, 0);
  }
  EXPECT_EQ(seen, std::vector<int64_t>(lengths.size(), 1));
  EXPECT_GE(static_cast<double>(all), 0.97 * 100 * static_cast<double>(rows.size()));
}

}  // namespace
