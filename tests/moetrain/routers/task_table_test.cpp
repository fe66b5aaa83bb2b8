// Routers that go by the task of a sequence: a table of experts, and a learned number of each task and expert.
#include "tests/support/task_table.h"

#include <gtest/gtest.h>

#include "moetrain/layers/feed_forward.h"
#include "moetrain/moe/moe_layer.h"
#include "parallel/base/fault.h"
#include "tests/moetrain/routers/routing_support.h"

namespace moetrain {
namespace {

constexpr int64_t kTaskTokens = 30, kTaskWidth = 4, kTaskExperts = 5;
const std::vector<std::string> kTaskNames{"en", "de", "fr"};

at::Tensor task_of_tokens() { return at::arange(kTaskTokens, at::kLong).div(5, "floor").remainder(3); }

MoeConfig table_config(const std::string& experts, int64_t top_k) {
  MoeConfig config{.experts = kTaskExperts, .hidden = 3};
  set_task_table(config, experts, top_k);
  return config;
}

std::shared_ptr<Router> task_router(const MoeConfig& config) {
  const RouterShape shape{kTaskWidth, 1.0, 0, builtin_capacities().at(config.capacity), kTaskNames};
  return builtin_routers().at(config.router).make(ParameterSource(5, at::kDouble), config, shape);
}

RoutingDecision route_tasks(Router& router, const at::Tensor& tokens_TD) {
  parallel::LocalCommunicator alone;
  const BatchScope scope{
      .group = alone, .global_tokens = tokens_TD.size(0), .training = true, .task_T = task_of_tokens()};
  return router.forward(tokens_TD, {.scope = scope, .layer = 1});
}

at::Tensor task_tokens() { return random_tensor("tokens", {kTaskTokens, kTaskWidth}); }

TEST(TaskTable, GivesEachTokenTheExpertsOfItsTaskAtOneOverTheirNumber) {
  const std::vector<std::vector<int64_t>> sets{{0, 1, 4}, {2}, {0, 3}};
  const RoutingDecision decision =
      route_tasks(*task_router(table_config("de: 2; fr: 3,0; en: 4,1,0", 3)), task_tokens());
  const at::Tensor task_T = task_of_tokens();
  for (int64_t t = 0; t < kTaskTokens; ++t) {
    const auto& set = sets[static_cast<size_t>(task_T[t].item<int64_t>())];
    for (int64_t k = 0; k < 3; ++k) {
      const bool there = k < std::ssize(set);
      EXPECT_EQ(decision.chosen_TK[t][k].item<int64_t>(),
                there ? set[static_cast<size_t>(k)] : parallel::Assignment::kDropped);
      EXPECT_EQ(decision.assignment.weight_TK[t][k].item<double>(),
                there ? 1.0 / static_cast<double>(set.size()) : 0.0);
    }
  }
  EXPECT_EQ(decision.global_choices_E.sum().item<int64_t>(), (decision.chosen_TK >= 0).sum().item<int64_t>());
  EXPECT_EQ(decision.dropped, 0);
}

/// A layer of the tasks' experts, and the tokens' scope.
class TaskLayer {
 public:
  explicit TaskLayer(const MoeConfig& config) {
    tables_.tasks = kTaskNames;
    layer_ = std::make_shared<MoeLayer>(ParameterSource(3, at::kDouble), config,
                                        MoeLayer::Shape{.width = kTaskWidth, .std = 0.8, .output_std = 0.7}, tables_);
  }
  at::Tensor operator()(const at::Tensor& tokens_TD) {
    const BatchScope scope{
        .group = alone_, .global_tokens = tokens_TD.size(0), .training = true, .task_T = task_of_tokens()};
    return layer_->forward(tokens_TD, scope).out_TD;
  }
  at::Tensor weight(const std::string& name) const { return layer_->named_parameters()["experts." + name]; }
  /// Expert by expert, by plain products.
  at::Tensor expert(int64_t number, const at::Tensor& tokens_TD) const {
    const at::Tensor gate = tokens_TD.matmul(weight("gate")[number]), up = tokens_TD.matmul(weight("up")[number]);
    return (at::silu(gate) * up).matmul(weight("down")[number]);
  }

 private:
  parallel::LocalCommunicator alone_;
  MoeTables tables_;
  std::shared_ptr<MoeLayer> layer_;
};

TEST(TaskTable, OfALayerIsTheMeanOfATasksExpertsByHand) {
  const at::NoGradGuard no_gradient;
  TaskLayer layer(table_config("en: 0,1,4; de: 2; fr: 0,3", 3));
  const at::Tensor tokens = task_tokens(), out = layer(tokens);
  const std::vector<std::vector<int64_t>> sets{{0, 1, 4}, {2}, {0, 3}};
  const at::Tensor task_T = task_of_tokens();
  for (int64_t t = 0; t < kTaskTokens; ++t) {
    const auto& set = sets[static_cast<size_t>(task_T[t].item<int64_t>())];
    at::Tensor sum = at::zeros({1, kTaskWidth}, at::kDouble);
    for (const int64_t expert : set) sum += layer.expert(expert, tokens.narrow(0, t, 1));
    EXPECT_TRUE(at::allclose(out.narrow(0, t, 1), sum / static_cast<double>(set.size()), 1e-13, 1e-14)) << t;
  }
}

TEST(TaskTable, OfAllSkillsThatAreEqualIsTheDenseFeedForward) {
  const at::NoGradGuard no_gradient;
  TaskLayer layer(table_config("en: 0,1,2,3,4; de: 4,3,2,1,0; fr: 0,1,2,3,4", 5));
  for (const char* name : {"gate", "up", "down"}) layer.weight(name).copy_(layer.weight(name)[2].clone());
  const at::Tensor tokens = task_tokens();
  EXPECT_TRUE(at::allclose(layer(tokens), layer.expert(2, tokens), 1e-14, 1e-15));
}

TEST(TaskBias, IsALearnedNumberOfTaskAndExpertOnTheLogits) {
  MoeConfig config{.experts = kTaskExperts, .top_k = 2, .task_bias = true};
  const auto router = task_router(config);
  config.task_bias = false;
  const auto without = task_router(config);
  const at::Tensor bias_SE = router->named_parameters()["task_bias"];
  ASSERT_EQ(bias_SE.sizes(), (std::vector<int64_t>{3, kTaskExperts}));
  const at::Tensor tokens = task_tokens();
  const RoutingDecision decision = route_tasks(*router, tokens);
  EXPECT_TRUE(at::allclose(decision.logits_TE,
                           route_tasks(*without, tokens).logits_TE + bias_SE.index_select(0, task_of_tokens()), 1e-14,
                           1e-15));
  decision.gate_TK.select(1, 0).sum().backward();
  EXPECT_GT(bias_SE.grad().abs().min().item<double>(), 0);
}

struct RefusedTable {
  const char* experts;
  int64_t top_k;
  const char* reason;
};

const RefusedTable kRefusedTables[] = {
    {"en: 0,1; de: 0; fr: 5", 2,
     "the task 'fr' names the expert '5' of 5; nearest legal: numbers from 0 to 4, each once"},
    {"en: 0,1; de: 0; fr: x", 2,
     "the task 'fr' names the expert 'x' of 5; nearest legal: numbers from 0 to 4, each once"},
    {"en: 0,1,0; de: 0; fr: 1", 2,
     "the task 'en' names the expert 0 twice; nearest legal: numbers from 0 to 4, each once"},
    {"en: 0,1; de: ; fr: 1", 2, "the task 'de' names no expert; nearest legal: numbers from 0 to 4, each once"},
    {"en: 0,1; de: 0; en: 1; fr: 0", 2,
     "the task 'en' comes twice; nearest legal: experts = \"en: 0,1; de: 0,2\", a list for each of tasks.names"},
    {"en: 0,1; de", 2,
     "' de' is no task with its experts; nearest legal: experts = \"en: 0,1; de: 0,2\", a list for each of "
     "tasks.names"},
    {"", 2, "no task has an expert; nearest legal: experts = \"en: 0,1; de: 0,2\", a list for each of tasks.names"},
    {"en: 0,1; de: 0", 2, "the task 'fr' of tasks.names has no experts; nearest legal: a list for each of en, de, fr"},
    {"en: 0,1; de: 0; fr: 1; cs: 2", 2, "nobody has the task 'cs'; nearest legal: tasks of tasks.names: en, de, fr"},
};

std::string refused_table(const MoeConfig& config, const std::vector<std::string>& tasks) {
  try {
    check_router(config, builtin_routers().at(config.router), {}, {.tasks = tasks});
  } catch (const parallel::UserError& error) {
    return error.what();
  }
  return "no fault";
}

TEST(TaskTable, SaysWhatItRefuses) {
  for (const RefusedTable& each : kRefusedTables) {
    EXPECT_EQ(refused_table(table_config(each.experts, each.top_k), kTaskNames),
              "moe.task_table.experts = \"" + std::string(each.experts) + "\": " + each.reason);
  }
  const std::string legal = "en: 0,1; de: 0; fr: 1";
  EXPECT_EQ(refused_table(table_config(legal, 2), kTaskNames), "no fault");
  EXPECT_EQ(
      refused_table(table_config(legal, 3), kTaskNames),
      "moe.top_k (3) with moe.router = \"task_table\", whose largest set has 2 experts; nearest legal: top_k = 2");
  EXPECT_EQ(refused_table(table_config(legal, 2), {}),
            "moe.router = \"task_table\" goes by the task of a sequence, and the run has no tasks; nearest legal: "
            "tasks.names = \"en, de\", groups of documents or token files, or router = \"top_k\"");
  MoeConfig biased{.task_bias = true};
  EXPECT_EQ(
      refused_table(biased, {}),
      "moe.task_bias with moe.router = \"top_k\" goes by the task of a sequence, and the run has no tasks; nearest "
      "legal: tasks.names = \"en, de\", groups of documents or token files, or task_bias = false");
  MoeConfig both = table_config(legal, 2);
  both.task_bias = true;
  EXPECT_EQ(refused_table(both, kTaskNames),
            "moe.task_bias with moe.router = \"task_table\": it has no logits for which a task could speak; nearest "
            "legal: task_bias = false");
}

}  // namespace
}  // namespace moetrain
