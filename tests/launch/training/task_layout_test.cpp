// Tasks: which stands in which batch, and the same numbers on any number of ranks where routers go by them.
#include "tests/launch/training/trainer_fixture.h"
#include "tests/support/bounded_experts.h"
#include "tests/support/shaken_router.h"
#include "tests/support/task_table.h"

namespace {

struct TaskCase {
  const char* name;
  void (*change)(launch::Recipe&);
};

const TaskCase kTaskCases[] = {
    {"table_of_mixed_batches", [](launch::Recipe& r) { set_task_table(r.moe, "en: 0,1,5; de: 2,1", 3); }},
    {"table_in_turn_for_updates",
     [](launch::Recipe& r) {
       set_task_table(r.moe, "en: 0,1; de: 0,2", 2), r.tasks.sampling = "round_robin", r.tasks.each = "update";
     }},
    {"table_of_micro_batches_with_capacity_recomputed",
     [](launch::Recipe& r) {
       set_task_table(r.moe, "en: 4,3,2; de: 0", 3), r.tasks.each = "micro_batch", r.train.micro_batches = 3;
       bound_experts(r.moe, 0.9, "random"), r.train.recompute = "block";
     }},
    {"table_by_temperature_beside_a_shared_expert",
     [](launch::Recipe& r) {
       set_task_table(r.moe, "en: 5; de: 1,2,3,4", 4), r.moe.shared_hidden = 20, r.moe.layers = "odd";
       r.tasks.sampling = "temperature", r.tasks.temperature = 3, r.train.global_batch = 2;
     }},
    {"table_of_one_sequence_an_update",
     [](launch::Recipe& r) { set_task_table(r.moe, "en: 0,1; de: 0,2", 2), r.train.global_batch = 1; }},
    {"table_of_packed_documents",
     [](launch::Recipe& r) {
       set_task_table(r.moe, "en: 0,1; de: 0,2", 2), r.data.packing = "documents", r.data.sequence_length = 250;
       r.train.global_batch = 4, r.train.micro_batches = 2;
     }},
    {"table_of_whole_sequences",
     [](launch::Recipe& r) { set_task_table(r.moe, "en: 0,1; de: 0,2,3", 3), r.moe.rows = "sequences"; }},
    {"task_bias_beside_residual_logits",
     [](launch::Recipe& r) { r.moe.task_bias = r.moe.gating_residual = true, r.train.recompute = "moe"; }},
    {"task_bias_with_noise_and_micro_batches",
     [](launch::Recipe& r) {
       r.moe.router = "noisy_top_k", r.moe.task_bias = true, r.moe.losses["load"] = 0.1;
       r.tasks.each = "micro_batch", r.train.micro_batches = 2;
     }},
    {"tasks_that_no_router_reads", [](launch::Recipe& r) { r.tasks.sampling = "round_robin"; }},
};

launch::Recipe task_recipe(const std::string& data_file) {
  launch::Recipe recipe = tiny_recipe(data_file);
  recipe.tasks.names = "en, de";
  return recipe;
}

class TaskLayout : public testing::TestWithParam<size_t> {};

TEST_P(TaskLayout, AgreesWithOneRankInFloat64) {
  const auto world = test_world();
  const TestFolder folder("task_layout", *world);
  launch::Recipe recipe = task_recipe(make_tiny_corpus(folder, *world));
  kTaskCases[GetParam()].change(recipe);
  const UpdateTrace reference = trace_of_one_rank(recipe, updates_of_case());
  for (const parallel::MeshConfig& mesh : layouts_of_case(recipe, world->size(), GetParam())) {
    const launch::Groups groups = test_groups(mesh, stated_hosts(mesh, world->size()));
    SCOPED_TRACE(groups.mesh->shape().describe());
    expect_same_trace(run_updates(recipe, groups, updates_of_case()), reference, 1e-10);
  }
}

INSTANTIATE_TEST_SUITE_P(All, TaskLayout, testing::Range(size_t{0}, std::size(kTaskCases)),
                         [](const auto& each) { return std::string(kTaskCases[each.param].name); });

TEST(TaskLayout, RoundOffHasNoSayInTheChoicesOfATask) {
  const auto world = test_world();
  const TestFolder folder("task_round_off", *world);
  const std::string corpus = make_tiny_corpus(folder, *world);
  for (const bool table : {true, false}) {
    launch::Recipe recipe = task_recipe(corpus);
    if (table) set_task_table(recipe.moe, "en: 0,1,2; de: 0,3", 3);
    recipe.moe.task_bias = !table;
    bound_experts(recipe.moe, 0.9, table ? "position" : "probability");
    const UpdateTrace reference = trace_of_one_rank(recipe, 3);
    const UpdateTrace shaken = run_updates(recipe, test_groups(), 3, {.routers = shaken_routers<Tie::kByRouter>()});
    EXPECT_LE(largest_difference(shaken, reference), 1e-10) << table;
  }
}

/// The tasks of an update's sequences, by micro-batch; each rank's of a world of `shards`, one after another.
std::vector<std::vector<int64_t>> tasks_of(const data::TokenMixture& mixture, const launch::Recipe& recipe,
                                           int64_t update, int64_t shards) {
  std::vector<std::vector<int64_t>> tasks(static_cast<size_t>(recipe.train.micro_batches));
  for (int64_t shard = 0; shard < shards; ++shard) {
    const auto read = launch::make_training_batches(mixture, recipe, {shard, shards})->read(update);
    for (size_t m = 0; m < read.size(); ++m) {
      const at::Tensor& task_S = read[m].batch.inputs.tokens.task_S;
      EXPECT_EQ(task_S.numel(), read[m].batch.inputs.tokens.sequences.count());
      // Every target of a window is of the group that is its task.
      EXPECT_TRUE(read[m].groups_T.view({task_S.numel(), -1}).eq(task_S.unsqueeze(1)).all().item<bool>());
      tasks[m].insert(tasks[m].end(), task_S.const_data_ptr<int64_t>(),
                      task_S.const_data_ptr<int64_t>() + task_S.numel());
    }
  }
  return tasks;
}

TEST(TaskBatches, AreOfOneTaskWhereTheRecipeSaysSoOnAnyNumberOfRanks) {
  const auto world = test_world();
  const TestFolder folder("task_batches", *world);
  launch::Recipe recipe = task_recipe(make_tiny_corpus(folder, *world));
  recipe.tasks.names = "de, en";  // numbers are places in this list
  recipe.train.micro_batches = 3;
  const auto mixture = data::TokenMixture::open(recipe.data.file);
  for (const char* each : {"sequence", "micro_batch", "update"}) {
    for (const char* sampling : {"weights", "round_robin", "temperature"}) {
      recipe.tasks.each = each, recipe.tasks.sampling = sampling;
      int64_t mixed = 0, changed = 0;
      for (int64_t update = 0; update < 12; ++update) {
        const auto tasks = tasks_of(mixture, recipe, update, 1);
        EXPECT_EQ(tasks, tasks_of(mixture, recipe, update, 3));
        for (const auto& of_batch : tasks) {
          ASSERT_EQ(of_batch.size(), 4u);
          mixed += std::ranges::count(of_batch, of_batch[0]) < 4;
          changed += of_batch[0] != tasks[0][0];
        }
      }
      EXPECT_EQ(mixed > 0, std::string(each) == "sequence") << each << " " << sampling;
      EXPECT_EQ(changed > 0, std::string(each) != "update" && !(mixed == 36 && std::string(sampling) == "round_robin"))
          << each << " " << sampling;
    }
  }
}

class TaskRuns : public TrainerTest {
 protected:
  launch::Recipe recipe_of(const std::string& run_folder) {
    launch::Recipe recipe = recipe_in(run_folder, "float64");
    recipe.tasks = {.names = "en, de", .sampling = "round_robin", .each = "update"};
    set_task_table(recipe.moe, "en: 0,1; de: 0,2", 2);
    recipe.evaluate.every = {6, parallel::Unit::kUpdates};
    return recipe;
  }
};

TEST_F(TaskRuns, GoOnInTheBitsOfTheWholeRunAndSeeOnlyATasksExperts) {
  launch::Recipe whole = recipe_of("whole"), parts = recipe_of("parts");
  expect_the_same_bits_in_two_parts(whole, parts);
  if (world_->rank() != 0) return;
  for (const nlohmann::json& line : metrics_of(parts)) {
    if (line["event"] == "evaluate") {
      EXPECT_EQ(line["sources"]["de"]["loss"], line["groups"]["de"]["loss"]);
    }
    if (line["event"] != "step") continue;
    const int64_t step = line["step"];
    EXPECT_EQ(line["sources"]["en"], (step + 1) / 2 * 12 * 16);
    EXPECT_EQ(line["sources"]["de"], step / 2 * 12 * 16);
  }
}

}  // namespace
