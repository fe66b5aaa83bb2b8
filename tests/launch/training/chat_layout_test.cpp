// Conversations give the same numbers on any number of ranks, whatever a row of them is: uneven lengths, answers that
// are spread unevenly over micro-batches and ranks, ranks without a row.
#include "tests/launch/training/training_support.h"
#include "tests/support/bounded_experts.h"
#include "tests/support/tiny_corpus.h"
#include "tests/support/world.h"

namespace {

/// Conversations of one or two turns in two languages, 9 to 40 byte tokens. One rank writes. Collective.
std::string make_tiny_chats(const TestFolder& folder, parallel::Communicator& world) {
  return prepared_by_one(folder, world, "chats.h5", [&](data::PrepareOptions& options) {
    options.text = {folder.path() / "chats.jsonl"};
    options.heldout = 0.2;
    options.chat = {"plain", ""};
    std::ofstream file(options.text.front());
    const parallel::RandomStream stream(9, "tiny chats");
    for (int64_t d = 0; d < 80; ++d) {
      file << "{\"language\": \""
           << "xy"[d % 2] << "\", \"messages\": [";
      for (int64_t turn = 0; turn <= d % 2; ++turn) {
        std::string said[2];
        for (int64_t i = 0; i < 3 + (d * 7 + turn) % 9; ++i)
          said[0] += static_cast<char>('a' + stream.below(d * 64 + i, 6));
        for (int64_t i = 0; i < 2 + (d + turn) % 8; ++i)
          said[1] += static_cast<char>('p' + stream.below(d * 64 + 32 + i, 6));
        file << (turn > 0 ? ", " : "") << "{\"role\": \"user\", \"content\": \"" << said[0]
             << "\"}, {\"role\": \"assistant\", \"content\": \"" << said[1] << "\"}";
      }
      file << "]}\n";
    }
  });
}

struct ChatCase {
  const char* name;
  void (*change)(launch::Recipe&);
};

const ChatCase kChatCases[] = {
    {"documents", [](launch::Recipe& r) { r.train.micro_batches = 2; }},
    {"joined_with_capacity", [](launch::Recipe& r) { r.data.packing = "joined", bound_experts(r.moe, 0.8); }},
    {"stream", [](launch::Recipe& r) { r.data.packing = "stream", r.train.micro_batches = 3; }},
    {"documents_routed_whole", [](launch::Recipe& r) { r.moe.rows = "sequences"; }},
    {"drawn_experts_and_dropout",
     [](launch::Recipe& r) {
       r.moe.router = "thor", r.moe.gate = "hard", r.moe.top_k = 1, r.model.dropout = 0.1,
       r.moe.losses["load_balance"] = 0;
     }},
    {"fewer_rows_than_ranks", [](launch::Recipe& r) { r.train.global_batch = 2; }},
};

class ChatLayout : public testing::TestWithParam<size_t> {};

TEST_P(ChatLayout, AgreesWithOneRankInFloat64) {
  const auto world = test_world();
  const TestFolder folder("chat_layout", *world);
  launch::Recipe recipe = tiny_recipe(make_tiny_chats(folder, *world));
  recipe.data.packing = "documents";
  recipe.data.sequence_length = 40;
  recipe.train.global_batch = 6;
  kChatCases[GetParam()].change(recipe);
  const UpdateTrace reference = trace_of_one_rank(recipe, updates_of_case());
  for (const parallel::MeshConfig& mesh : layouts_of_case(recipe, world->size(), GetParam())) {
    const launch::Groups groups = test_groups(mesh);
    SCOPED_TRACE(groups.mesh->shape().describe());
    expect_same_trace(run_updates(recipe, groups, updates_of_case()), reference, 1e-10);
  }
}

INSTANTIATE_TEST_SUITE_P(All, ChatLayout, testing::Range(size_t{0}, std::size(kChatCases)),
                         [](const auto& each) { return std::string(kChatCases[each.param].name); });

}  // namespace
