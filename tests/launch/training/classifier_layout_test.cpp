// A classifier gives the same numbers on any number of ranks: whole documents of uneven lengths, whether tokens or
// whole sequences are routed, by experts of one kind or of several.
#include "moetrain/models/classifier.h"
#include "tests/launch/training/training_support.h"
#include "tests/support/bounded_experts.h"
#include "tests/support/tiny_corpus.h"
#include "tests/support/world.h"

namespace {

/// Documents of 4 to 19 byte tokens in three groups; some begin alike. One rank writes. Collective.
std::string make_tiny_documents(const TestFolder& folder, parallel::Communicator& world) {
  return prepared_by_one(folder, world, "documents.h5", [&](data::PrepareOptions& options) {
    options.text = {folder.path() / "documents.jsonl"};
    options.heldout = 0.2;
    std::ofstream file(options.text.front());
    const parallel::RandomStream stream(9, "tiny documents");
    for (int64_t d = 0; d < 90; ++d) {
      std::string text(1, static_cast<char>('p' + d % 2));
      for (int64_t i = 0; i < 2 + d % 16; ++i) text += static_cast<char>('a' + stream.below(d * 32 + i, 6));
      file << "{\"label\": \""
           << "xyz"[d % 3] << "\", \"text\": \"" << text << "\"}\n";
    }
  });
}

launch::Recipe tiny_classifier(const std::string& data_file) {
  launch::Recipe recipe = tiny_recipe(data_file);
  recipe.model.kind = "classifier";
  recipe.model.own<moetrain::ClassifierConfig>().classes = 3;
  recipe.data.longest = 15;
  return recipe;
}

/// Hecto's layer.
void use_hecto(launch::Recipe& r, const char* expert) {
  r.moe.rows = "sequences", r.moe.expert = expert, r.moe.router = "hecto", r.moe.top_k = 1;
  r.moe.gate = "straight_through";
  r.moe.losses["entropy"] = 0.01, r.moe.losses["diversity"] = 0.1;
}

struct ClassifierCase {
  const char* name;
  void (*change)(launch::Recipe&);
};

const ClassifierCase kClassifierCases[] = {
    {"tokens", [](launch::Recipe&) {}},
    {"soft_slots_of_the_last_token",
     [](launch::Recipe& r) {
       r.moe.router = "soft", r.moe.gate = "raw", r.moe.own<moetrain::SoftConfig>().slots = 2;
       r.moe.losses["load_balance"] = 0, r.model.own<moetrain::ClassifierConfig>().pool = "last";
     }},
    {"hecto", [](launch::Recipe& r) { use_hecto(r, "feed_forward:1,gru:5"), r.model.attention = "none"; }},
    {"sequences_of_two_choices_with_capacity",
     [](launch::Recipe& r) {
       r.moe.rows = "sequences", r.moe.expert = "gru:2,feed_forward:4", r.train.micro_batches = 2;
       r.moe.own<moetrain::SequenceRoutingConfig>().seen = "mean", r.moe.shared_hidden = 20;
       bound_experts(r.moe, 0.8), r.model.attention = "1";
     }},
    {"gru_beside_copy_and_constant_in_a_latent_width",
     [](launch::Recipe& r) {
       r.moe.rows = "sequences", r.moe.expert = "gru", r.moe.copy_experts = r.moe.constant_experts = 1;
       r.moe.latent = 10, r.moe.layers = "odd", r.model.own<moetrain::ClassifierConfig>().pool = "first";
     }},
    {"thor_by_sequence_two_passes",
     [](launch::Recipe& r) {
       r.moe.rows = "sequences", r.moe.router = "thor", r.moe.top_k = 1, r.moe.gate = "hard";
       r.moe.losses["load_balance"] = 0, r.moe.own<moetrain::ThorConfig>().granularity = "token";
       r.objective.kind = "two_pass", r.model.dropout = 0.1;
     }},
    {"distillation_of_classes",
     [](launch::Recipe& r) { r.objective.kind = "distillation", r.objective.label_smoothing = 0.1; }},
    {"recomputed_blocks_of_sequences",
     [](launch::Recipe& r) { use_hecto(r, "feed_forward:4,gru:2"), r.train.recompute = "block"; }},
    {"tokens_behind_sequences_of_three_sorts_of_experts",
     [](launch::Recipe& r) {
       use_hecto(r, "feed_forward(6):2,gru:2,feed_forward:2");
       moetrain::MoeConfig tokens = r.moe;
       tokens.name = "tokens", tokens.rows = "tokens", tokens.expert = "feed_forward";
       tokens.router = "top_k", tokens.top_k = 2, tokens.gate = "sum1";
       r.moe.named = {tokens}, r.moe.placement = "moe:0; tokens:1";
     }},
    {"fewer_documents_than_ranks",
     [](launch::Recipe& r) { use_hecto(r, "gru:3,feed_forward:3"), r.train.global_batch = 2; }},
};

class ClassifierLayout : public testing::TestWithParam<size_t> {};

TEST_P(ClassifierLayout, AgreesWithOneRankInFloat64) {
  const auto world = test_world();
  const TestFolder folder("classifier_layout", *world);
  launch::Recipe recipe = tiny_classifier(make_tiny_documents(folder, *world));
  kClassifierCases[GetParam()].change(recipe);
  const UpdateTrace reference = trace_of_one_rank(recipe, updates_of_case());
  for (parallel::MeshConfig mesh : layouts_of_case(recipe, world->size(), GetParam())) {
    if (moetrain::names_kind(recipe.moe.expert, "gru") && mesh.expert_tensor > 1) {
      mesh.expert *= mesh.expert_tensor;  // a recurrence is not shared out
      mesh.expert_tensor = 1;
      mesh.experts_by_rank.clear();
      mesh = with_experts(mesh, recipe, mesh.expert, 1);
    }
    const launch::Groups groups = test_groups(mesh);
    SCOPED_TRACE(groups.mesh->shape().describe());
    expect_same_trace(run_updates(recipe, groups, updates_of_case()), reference, 1e-10);
  }
}

INSTANTIATE_TEST_SUITE_P(All, ClassifierLayout, testing::Range(size_t{0}, std::size(kClassifierCases)),
                         [](const auto& each) { return std::string(kClassifierCases[each.param].name); });

/// What the cases above rest on: another order of a document's tokens is another loss through a GRU and the same
/// through feed-forwards without attention.
TEST(ClassifierCases, OnlyTheRecurrentExpertSeesTheOrder) {
  const auto world = test_world();
  const TestFolder folder("classifier_cases", *world);
  launch::Recipe recipe = tiny_classifier(make_tiny_documents(folder, *world));
  recipe.model.attention = "none";
  const auto corpus = data::TokenCorpus::open(recipe.data.file);
  for (const auto& [expert, sees] : {std::pair{"gru", true}, std::pair{"feed_forward", false}}) {
    use_hecto(recipe, expert);
    const launch::Groups alone = launch::local_groups();
    const auto model = launch::build_model(recipe, corpus.tokenizer().vocabulary_size(), at::kCPU, alone.mesh);
    const auto loss_of = [&](const std::vector<int64_t>& ids) {
      const moetrain::Batch batch{
          .inputs = {.tokens = moetrain::TokenSide::whole(at::tensor(ids, at::kLong).unsqueeze(0))},
          .targets_G = at::zeros({1}, at::kLong),
          .predicts = moetrain::Rows::kSequences};
      return moetrain::likelihood(*model, batch, {.group = *alone.tokens}).nll_T.item<double>();
    };
    const double apart = std::abs(loss_of({112, 97, 98, 99, 100}) - loss_of({112, 97, 100, 98, 99}));
    EXPECT_EQ(apart > 1e-6, sees) << expert << ": " << apart;
    EXPECT_TRUE(sees || apart < 1e-12) << expert << ": " << apart;
  }
}

}  // namespace
