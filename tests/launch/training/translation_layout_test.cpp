// Sentence pairs, two passes, dropout and teachers: the same numbers on any number of ranks.
#include <set>

#include "launch/batches/pair_batches.h"
#include "moetrain/losses/load_balance.h"
#include "tests/launch/training/training_support.h"
#include "tests/support/bounded_experts.h"
#include "tests/support/task_table.h"
#include "tests/support/tiny_pairs.h"
#include "tests/support/world.h"

namespace {

struct TranslationCase {
  const char* name;
  void (*change)(launch::Recipe&);
};

void use_thor(launch::Recipe& recipe, const char* granularity) {
  recipe.moe.router = "thor";
  recipe.moe.top_k = 1;
  recipe.moe.gate = "hard";
  recipe.moe.losses["load_balance"] = recipe.moe.losses["router_z"] = 0;
  recipe.moe.own<moetrain::ThorConfig>().granularity = granularity;
}

void use_two_passes(launch::Recipe& recipe) {
  recipe.objective.kind = "two_pass";
  recipe.objective.own<moetrain::TwoPassConfig>().consistency = 5.0;
}

/// Distances in place of turned pairs, heads of odd width, nothing scaled, one expert by its raw probability.
void use_t5(launch::Recipe& recipe) {
  moetrain::ModelConfig& model = recipe.model;
  model.attending.positions = "relative", model.attending.scaled = false, model.attending.head_width = 3;
  model.attending.own<moetrain::RelativeConfig>() = {.buckets = 8, .longest = 12};
  model.kv_heads = model.heads, model.activation = "relu", model.scaled_head = true, model.start_token = 3;
  recipe.moe.router = "switch", recipe.moe.top_k = 1, recipe.moe.gate = "raw", recipe.moe.jitter = 0.01;
}

void use_decoder_lm(launch::Recipe& recipe) {
  recipe.model.kind = "decoder_lm";
  recipe.model.encoder_layers = 0;
}

const TranslationCase kTranslationCases[] = {
    {"plain", [](launch::Recipe&) {}},
    {"dense_with_dropout", [](launch::Recipe& r) { r.moe.layers = "none", r.model.dropout = 0.2; }},
    {"dense_layer_norm_gelu_untied",
     [](launch::Recipe& r) {
       r.moe.layers = "none", r.model.norm = "layer", r.model.activation = "gelu", r.model.tie_embeddings = false;
     }},
    {"switch_router",
     [](launch::Recipe& r) {
       r.moe.router = "switch", r.moe.top_k = 1, r.moe.gate = "raw", r.moe.jitter = 0.01, r.moe.capacity = "factor";
     }},
    {"switch_transformers", [](launch::Recipe& r) { use_t5(r), r.moe.layers = "odd", r.moe.router_bias = true; }},
    {"switch_transformers_dense_recomputed_with_dropout",
     [](launch::Recipe& r) {
       use_t5(r), r.moe.layers = "none", r.train.recompute = "block", r.model.dropout = 0.1, r.train.micro_batches = 2;
     }},
    {"capacity_two_micro_batches",
     [](launch::Recipe& r) { bound_experts(r.moe, 0.9), r.train.micro_batches = 2, r.train.batch_tokens = 600; }},
    {"thor_slices_two_passes", [](launch::Recipe& r) { use_thor(r, "slices"), use_two_passes(r); }},
    {"thor_sentence_two_passes_and_dropout",
     [](launch::Recipe& r) {
       use_thor(r, "sentence"), use_two_passes(r), r.model.dropout = 0.1, r.train.micro_batches = 3;
     }},
    {"thor_token_two_passes", [](launch::Recipe& r) { use_thor(r, "token"), use_two_passes(r); }},
    {"soft_in_the_encoder",
     [](launch::Recipe& r) {
       r.moe.router = "soft", r.moe.layers = "0", r.moe.gate = "raw", r.moe.own<moetrain::SoftConfig>().slots = 2,
       r.moe.losses["load_balance"] = 0;
     }},
    {"bias_and_balance_over_the_global_batch",
     [](launch::Recipe& r) {
       r.moe.router = "sigmoid_bias", r.moe.own<moetrain::SigmoidBiasConfig>().bias_rate = 0.3,
       r.moe.own<moetrain::LoadBalanceConfig>().over = "global_batch";
       r.train.micro_batches = 2;
     }},
    {"free_experts_with_gating_residual",
     [](launch::Recipe& r) {
       r.moe.router = "mlp", r.moe.gating_residual = true, r.moe.gate = "true1", r.moe.capacity = "by_kind";
       r.moe.zero_experts = r.moe.copy_experts = 1, r.moe.constant_experts = 2,
       r.moe.own<moetrain::LoadBalanceConfig>().kind_weight = 0.75;
     }},
    {"top_k_two_passes_with_dropout",
     [](launch::Recipe& r) {
       use_two_passes(r), r.model.dropout = 0.1, r.objective.label_smoothing = 0.1, r.moe.layers = "odd";
     }},
    {"all_directions_tempered",
     [](launch::Recipe& r) { r.data.directions = "all", r.data.temperature = 3.0, r.train.batch_tokens = 500; }},
    {"directions_as_tasks_of_a_table",
     [](launch::Recipe& r) {
       r.data.directions = "en-de,de-en", r.tasks.names = "en-de, de-en", r.train.micro_batches = 2;
       set_task_table(r.moe, "en-de: 0,1; de-en: 0,2,3", 3);
     }},
    {"directions_as_tasks_in_turn",
     [](launch::Recipe& r) {
       r.data.directions = "en-de,de-en", r.tasks.names = "de-en, en-de", r.moe.task_bias = true;
       r.tasks.each = "update", r.tasks.sampling = "round_robin", r.train.batch_tokens = 90;
     }},
    {"label_smoothing", [](launch::Recipe& r) { r.objective.label_smoothing = 0.1; }},
    {"distillation",
     [](launch::Recipe& r) {
       r.objective.kind = "distillation", r.objective.label_smoothing = 0.1;
       r.objective.own<moetrain::DistillationConfig>().temperature = 2.0;
     }},
    {"distillation_with_capacity_and_dropout",
     [](launch::Recipe& r) {
       r.objective.kind = "distillation", r.moe.capacity = "factor";
       r.objective.own<moetrain::DistillationConfig>().weight = 0.5;
       r.model.dropout = 0.1, r.train.micro_batches = 2;
     }},
    {"recomputed_blocks_thor_two_passes_and_dropout",
     [](launch::Recipe& r) {
       use_thor(r, "slices"), use_two_passes(r), r.model.dropout = 0.1, r.train.recompute = "block";
       r.train.micro_batches = 2;
     }},
    {"recomputed_experts_distillation",
     [](launch::Recipe& r) {
       r.objective.kind = "distillation", r.model.dropout = 0.1, r.train.recompute = "moe", r.moe.layers = "odd";
     }},
    {"recomputed_blocks_fewer_pairs_than_ranks",
     [](launch::Recipe& r) { r.train.batch_tokens = 90, r.train.recompute = "block", r.moe.gating_residual = true; }},
    {"recomputed_soft_slots",
     [](launch::Recipe& r) {
       r.moe.router = "soft", r.moe.layers = "0", r.moe.gate = "raw", r.moe.own<moetrain::SoftConfig>().slots = 2,
       r.moe.losses["load_balance"] = 0;
       r.train.recompute = "block";
     }},
    {"fewer_pairs_than_ranks", [](launch::Recipe& r) { r.train.batch_tokens = 90, r.model.dropout = 0.1; }},
    {"fewer_pairs_than_micro_batches",
     [](launch::Recipe& r) {
       r.train.batch_tokens = 90, r.train.micro_batches = 4, use_thor(r, "slices"), use_two_passes(r);
     }},
    {"language_model_with_dropout", [](launch::Recipe& r) { use_decoder_lm(r), r.model.dropout = 0.2; }},
    {"language_model_thor_two_passes",
     [](launch::Recipe& r) { use_decoder_lm(r), use_thor(r, "slices"), use_two_passes(r), r.train.micro_batches = 2; }},
    {"language_model_dense_two_passes",
     [](launch::Recipe& r) { use_decoder_lm(r), use_two_passes(r), r.moe.layers = "none", r.model.dropout = 0.3; }},
    {"language_model_distillation_one_sequence",
     [](launch::Recipe& r) { use_decoder_lm(r), r.objective.kind = "distillation", r.train.global_batch = 1; }},
};

class TranslationLayout : public testing::TestWithParam<size_t> {};

TEST_P(TranslationLayout, AgreesWithOneRankInFloat64) {
  const auto world = test_world();
  const TestFolder folder("translation_layout", *world);
  launch::Recipe recipe = tiny_translation_recipe(make_tiny_pairs(folder, *world));
  kTranslationCases[GetParam()].change(recipe);
  const UpdateTrace reference = trace_of_one_rank(recipe, updates_of_case());
  for (const parallel::MeshConfig& mesh : layouts_of_case(recipe, world->size(), GetParam())) {
    const launch::Groups groups = test_groups(mesh);
    SCOPED_TRACE(groups.mesh->shape().describe());
    expect_same_trace(run_updates(recipe, groups, updates_of_case()), reference, 1e-10);
  }
}

INSTANTIATE_TEST_SUITE_P(All, TranslationLayout, testing::Range(size_t{0}, std::size(kTranslationCases)),
                         [](const auto& each) { return std::string(kTranslationCases[each.param].name); });

/// Directions are tasks of every sentence, source and target alike; an update is of all, or of one of them in turn.
TEST(DirectionTasks, AreOfEverySentenceOnAnyNumberOfRanks) {
  const auto world = test_world();
  const TestFolder folder("direction_tasks", *world);
  launch::Recipe recipe = tiny_translation_recipe(make_tiny_pairs(folder, *world));
  recipe.data.directions = "en-de,de-en", recipe.tasks.names = "de-en, en-de", recipe.train.batch_tokens = 200;
  const auto corpus = data::TokenCorpus::open(recipe.data.file);
  const data::ParallelText text(corpus, data::Split::kTrain, launch::pair_selection(recipe, data::Split::kTrain));
  ASSERT_EQ(text.directions().size(), 2u);
  const auto task_of = [&](int64_t direction) {
    return text.directions()[static_cast<size_t>(direction)].name == "de-en" ? 0 : 1;
  };
  const auto mixture = data::TokenMixture::open(recipe.data.file);
  const auto tasks_of = [&](int64_t update, data::Shard shard) {
    std::vector<int64_t> tasks;
    for (const launch::MicroBatch& batch : launch::make_training_batches(mixture, recipe, shard)->read(update)) {
      const at::Tensor& task_S = batch.batch.inputs.tokens.task_S;
      EXPECT_TRUE(task_S.equal(batch.batch.inputs.source->task_S));
      for (int64_t s = 0; s < task_S.size(0); ++s) {
        tasks.push_back(task_S[s].item<int64_t>());
        EXPECT_EQ(tasks.back(), task_of(batch.groups_S[s].item<int64_t>()));
      }
    }
    return tasks;
  };
  for (const auto& [each, sampling] :
       {std::pair("sequence", "weights"), {"update", "weights"}, {"update", "round_robin"}}) {
    recipe.tasks.each = each, recipe.tasks.sampling = sampling;
    int64_t mixed = 0, of_first = 0;
    for (int64_t update = 0; update < 12; ++update) {
      const std::vector<int64_t> tasks = tasks_of(update, {0, 1});
      std::vector<int64_t> spread;
      for (int64_t shard = 0; shard < 3; ++shard) {
        const std::vector<int64_t> part = tasks_of(update, {shard, 3});
        spread.insert(spread.end(), part.begin(), part.end());
      }
      EXPECT_EQ(spread, tasks);
      const std::set<int64_t> different(tasks.begin(), tasks.end());
      mixed += different.size() > 1;
      of_first += different.contains(0) && different.size() == 1;
    }
    EXPECT_EQ(mixed > 0, std::string(each) == "sequence") << each;
    EXPECT_TRUE(std::string(sampling) != "round_robin" || of_first == 6) << of_first;
  }
  recipe.tasks.names = "de-en";
  EXPECT_THROW(launch::make_training_batches(mixture, recipe, {0, 1}), parallel::UserError);  // en-de is read too
  recipe.tasks.names = "de-en, en-de, en-fr";
  EXPECT_THROW(launch::make_training_batches(mixture, recipe, {0, 1}), parallel::UserError);
}

/// What the cases above rest on: their draws, terms and micro-batches are there.
TEST(TranslationLayoutCases, DoWhatTheirNamesSay) {
  const auto world = test_world();
  const TestFolder folder("translation_cases", *world);
  launch::Recipe recipe = tiny_translation_recipe(make_tiny_pairs(folder, *world));
  const launch::Groups alone = launch::local_groups();
  const auto loss_of = [&](const launch::Recipe& one) { return run_updates(one, alone, 1).reports[0]; };
  const double plain = loss_of(recipe).total_loss();
  for (const auto change :
       {+[](launch::Recipe& r) { r.model.dropout = 0.1; },
        +[](launch::Recipe& r) { r.objective.label_smoothing = 0.1; }, +[](launch::Recipe& r) { r.run.seed = 2; }}) {
    launch::Recipe other = recipe;
    change(other);
    EXPECT_GT(std::abs(loss_of(other).total_loss() - plain), 1e-4);
  }
  launch::Recipe thor = recipe;
  use_thor(thor, "slices");
  use_two_passes(thor);
  const launch::StepReport both = loss_of(thor);
  ASSERT_EQ(both.losses.size(), 2u);
  EXPECT_EQ(both.losses[1].first, "consistency");
  EXPECT_GT(both.losses[1].second, 1e-6);  // the passes did differ
  recipe.objective.kind = "distillation";
  const launch::StepReport taught = loss_of(recipe);
  EXPECT_EQ(taught.losses[1].first, "distillation");
  EXPECT_GT(taught.losses[1].second, 1e-3);
  // Fewer pairs than ranks or micro-batches: some update of the first three holds at most 2.
  recipe.train.batch_tokens = 90;
  recipe.train.micro_batches = 4;
  const auto corpus = data::TokenCorpus::open(recipe.data.file);
  const auto batches = launch::make_training_batches(corpus, recipe, alone.shard);
  size_t fewest = 4;
  for (int64_t update = 0; update < 3; ++update) fewest = std::min(fewest, batches->read(update).size());
  EXPECT_LE(fewest, 2u);
}

}  // namespace
