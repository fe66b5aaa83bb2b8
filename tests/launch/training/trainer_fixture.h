// defines: TrainerTest, saved_parameters, metrics_of: whole runs of a tiny recipe on all ranks
#pragma once
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "launch/training/trainer.h"
#include "tests/launch/training/training_support.h"
#include "tests/support/tiny_corpus.h"
#include "tests/support/world.h"

/// The checkpoint of one update, as float64 tensors of the recipe's model.
inline std::vector<at::Tensor> saved_parameters(const launch::Recipe& recipe, int64_t update) {
  const auto model = launch::build_model(recipe, 257, at::kCPU);
  launch::read_checkpoint(launch::checkpoint_path(recipe.run.folder, update), launch::parameter_tensors(*model));
  std::vector<at::Tensor> all;
  for (const auto& tensor : launch::parameter_tensors(*model)) all.push_back(tensor.tensor.detach().to(at::kDouble));
  return all;
}

inline std::vector<nlohmann::json> metrics_of(const launch::Recipe& recipe) {
  std::ifstream file(std::filesystem::path(recipe.run.folder) / "metrics.jsonl");
  std::vector<nlohmann::json> lines;
  std::string line;
  while (std::getline(file, line)) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

class TrainerTest : public testing::Test {
 protected:
  launch::Trainer::End run(const launch::Recipe& recipe, bool resume = false) {
    launch::Trainer trainer(recipe, test_groups(recipe.mesh), at::kCPU, interrupt_, {.resume = resume});
    return trainer.run();
  }
  /// `parts` is stopped after 3 updates and goes on; both are 6 long.
  void expect_the_same_bits_in_two_parts(const launch::Recipe& whole, launch::Recipe parts) {
    EXPECT_EQ(run(whole), launch::Trainer::End::kDone);
    parts.train.length = {3, parallel::Unit::kUpdates};
    run(parts);
    parts.train.length = whole.train.length;
    run(parts, /*resume=*/true);
    const auto a = saved_parameters(whole, 6), b = saved_parameters(parts, 6);
    for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(a[i], b[i])) << i;
  }
  launch::Recipe recipe_in(const std::string& run_folder, const std::string& precision) {
    launch::Recipe recipe = tiny_recipe(corpus_);
    recipe.run.folder = folder_.path() / run_folder;
    recipe.run.precision = precision;
    recipe.checkpoint = {.every = {3, parallel::Unit::kUpdates}, .keep = 2};
    return recipe;
  }

  const launch::Interrupt interrupt_;
  std::shared_ptr<parallel::Communicator> world_ = test_world();
  TestFolder folder_{"trainer", *world_};
  std::string corpus_ = make_tiny_corpus(folder_, *world_);
};
