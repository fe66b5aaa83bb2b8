// Whole runs of a translator: resumption, evaluation, translations, averaged checkpoints, teachers.
#include <ATen/Parallel.h>

#include <nlohmann/json.hpp>

#include "launch/batches/pair_batches.h"
#include "launch/evaluation/evaluation.h"
#include "launch/evaluation/translation.h"
#include "launch/models/trained_model.h"
#include "launch/training/trainer.h"
#include "tests/launch/training/training_support.h"
#include "tests/support/task_table.h"
#include "tests/support/tiny_pairs.h"
#include "tests/support/world.h"

namespace {

constexpr int64_t kPairVocabulary = 260;

/// Two passes of THOR with dropout: everything that is drawn in training.
launch::Recipe thor_translation(const std::string& data_file) {
  launch::Recipe recipe = tiny_translation_recipe(data_file);
  recipe.moe.router = "thor";
  recipe.moe.top_k = 1;
  recipe.moe.gate = "hard";
  recipe.moe.losses["load_balance"] = recipe.moe.losses["router_z"] = 0;
  recipe.objective.kind = "two_pass";
  recipe.model.dropout = 0.1;
  recipe.data.directions = "en-de,de-en";
  recipe.evaluate.batch = 3;
  recipe.evaluate.beam = 2;
  return recipe;
}

class TranslationRun : public testing::Test {
 protected:
  void run(const launch::Recipe& recipe, bool resume = false) {
    launch::Trainer trainer(recipe, test_groups(), at::kCPU, interrupt_, {.resume = resume});
    ASSERT_EQ(trainer.run(), launch::Trainer::End::kDone);
    parallel::all_ranks(*world_, [] {});
  }
  launch::Recipe recipe_in(const std::string& run_folder, const std::string& precision) {
    launch::Recipe recipe = thor_translation(corpus_);
    recipe.run.folder = folder_.path() / run_folder;
    recipe.run.precision = precision;
    recipe.checkpoint = {.every = {3, parallel::Unit::kUpdates}, .keep = 2};
    return recipe;
  }
  std::vector<at::Tensor> saved(const launch::Recipe& recipe, int64_t update) {
    const auto model = launch::build_model(recipe, kPairVocabulary, at::kCPU);
    launch::read_checkpoint(launch::checkpoint_path(recipe.run.folder, update), launch::parameter_tensors(*model));
    std::vector<at::Tensor> all;
    for (const auto& tensor : launch::parameter_tensors(*model)) all.push_back(tensor.tensor.detach().to(at::kDouble));
    return all;
  }
  void remove_on_one_rank(const std::filesystem::path& path) {
    parallel::all_ranks(*world_, [&] {
      if (world_->rank() == 0) std::filesystem::remove(path);
    });
  }

  const launch::Interrupt interrupt_;
  std::shared_ptr<parallel::Communicator> world_ = test_world();
  TestFolder folder_{"translation_run", *world_};
  std::string corpus_ = make_tiny_pairs(folder_, *world_);
};

TEST_F(TranslationRun, ResumptionIsBitwiseTheUninterruptedRun) {
  for (const std::string precision : {"float32", "bf16"}) {
    const launch::Recipe whole = recipe_in("whole_" + precision, precision),
                         cut = recipe_in("cut_" + precision, precision);
    run(whole);
    run(cut);
    remove_on_one_rank(launch::checkpoint_path(cut.run.folder, 6));
    run(cut, /*resume=*/true);
    const auto a = saved(whole, 6), b = saved(cut, 6);
    for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(a[i], b[i])) << precision << ", parameter " << i;
  }
}

TEST_F(TranslationRun, EvaluationIsTheSameWhateverRanksAndBatches) {
  launch::Recipe recipe = thor_translation(corpus_);
  const auto corpus = data::TokenCorpus::open(corpus_);
  const launch::Groups groups = test_groups(), alone = launch::local_groups();
  for (const char* inference : {"sentence", "token", "ensemble"}) {
    recipe.moe.own<moetrain::ThorConfig>().inference = inference;
    const auto model = launch::build_model(recipe, kPairVocabulary, at::kCPU);
    const auto evaluate = [&](int64_t batch_tokens, const launch::Groups& ranks) {
      recipe.train.batch_tokens = batch_tokens;
      return launch::evaluate(*model, *recipe.objective_preset().make({recipe.objective, nullptr}),
                              *launch::make_held_out_batches(corpus, recipe, ranks.shard), ranks);
    };
    const launch::Evaluation spread = evaluate(200, groups), whole = evaluate(100000, alone);
    EXPECT_NEAR(spread.overall.nll, whole.overall.nll, 1e-10 * whole.overall.nll) << inference;
    ASSERT_EQ(spread.groups.size(), 2u);
    EXPECT_EQ(spread.groups[0].name, "en-de");
    int64_t tokens = 0;
    for (int64_t row = 40; row < 47; ++row) tokens += static_cast<int64_t>(tiny_translations(row)[1].size()) + 1;
    EXPECT_EQ(spread.groups[0].tokens, tokens) << "every target once, its end too";
    ASSERT_EQ(spread.routing.size(), 4u);
    for (size_t i = 0; i < 4; ++i) EXPECT_EQ(spread.routing[i].choices, whole.routing[i].choices) << inference << i;
  }
}

TEST_F(TranslationRun, TranslationsAreTheSameOnAnyNumberOfRanks) {
  launch::Recipe recipe = thor_translation(corpus_);
  recipe.run.precision = "float32";
  recipe.model.init_std = 0.3;
  const auto corpus = data::TokenCorpus::open(corpus_);
  const data::ParallelText text(corpus, data::Split::kTest, launch::pair_selection(recipe, data::Split::kTest));
  const moetrain::BeamOptions options{
      .beam = 2, .longest_ratio = 0.5, .longest_extra = 2, .end_token = corpus.tokenizer().end_of_text()};
  for (const char* inference : {"sentence", "token"}) {
    recipe.moe.own<moetrain::ThorConfig>().inference = inference;
    const auto model = launch::build_model(recipe, kPairVocabulary, at::kCPU);
    auto& translator = dynamic_cast<moetrain::EncoderDecoder&>(*model);
    for (const int64_t batch : {1, 3}) {
      const auto alone = launch::translate(translator, {text, batch}, options, launch::local_groups());
      EXPECT_EQ(launch::translate(translator, {text, batch}, options, test_groups()), alone)
          << inference << ", " << batch;
      ASSERT_EQ(static_cast<int64_t>(alone.size()), text.size());
      EXPECT_EQ(alone.size(), 10u);  // 5 rows in 2 directions
      const std::set<std::string> distinct(alone.begin(), alone.end());
      EXPECT_GT(distinct.size(), 5u) << "translations of an untrained model, but not all alike";
    }
  }
}

TEST_F(TranslationRun, TranslationsGoByTheTaskOfTheirDirection) {
  launch::Recipe recipe = thor_translation(corpus_);
  recipe.data.directions = "en-de,de-en", recipe.tasks.names = "de-en, en-de", recipe.model.init_std = 0.3;
  set_task_table(recipe.moe, "en-de: 0,1; de-en: 2,3", 2);
  recipe.objective.kind = "next_token";
  const auto corpus = data::TokenCorpus::open(corpus_);
  const data::ParallelText text(corpus, data::Split::kTest, launch::pair_selection(recipe, data::Split::kTest));
  const std::vector<int64_t> tasks = launch::direction_tasks(text, recipe, data::AbsentTask::kPassedOver);
  const moetrain::BeamOptions options{
      .beam = 2, .longest_ratio = 0.5, .longest_extra = 2, .end_token = corpus.tokenizer().end_of_text()};
  const auto model = launch::build_model(recipe, kPairVocabulary, at::kCPU);
  auto& translator = dynamic_cast<moetrain::EncoderDecoder&>(*model);
  const auto alone = launch::translate(translator, {text, 3, tasks}, options, launch::local_groups());
  EXPECT_EQ(launch::translate(translator, {text, 3, tasks}, options, test_groups()), alone);
  const std::vector<int64_t> other{tasks[1], tasks[0]};
  EXPECT_NE(launch::translate(translator, {text, 3, other}, options, launch::local_groups()), alone);
  const data::IndexRange first = text.pairs_of(0);
  const std::string target = text.directions()[0].name.substr(3);
  const auto one = [&](int64_t task) {
    return launch::translate_text(translator, corpus.tokenizer(), {text.source_text(first.begin), target, task},
                                  options);
  };
  EXPECT_EQ(one(tasks[0]), one(tasks[0]));
  EXPECT_NE(one(tasks[0]), one(tasks[1]));
}

TEST_F(TranslationRun, PerfectTranslationsScoreAHundred) {
  launch::Recipe recipe = thor_translation(corpus_);
  const auto corpus = data::TokenCorpus::open(corpus_);
  const data::ParallelText text(corpus, data::Split::kTrain, launch::pair_selection(recipe, data::Split::kTrain));
  std::vector<std::string> hypotheses;
  for (int64_t pair = 0; pair < text.size(); ++pair) hypotheses.push_back(text.target_text(pair));
  const auto scores = launch::score_translations(text, hypotheses);
  ASSERT_EQ(scores.size(), 2u);
  for (const auto& score : scores) {
    EXPECT_EQ(score.sentences, 40);
    EXPECT_NEAR(score.bleu, 100, 1e-9) << score.direction;
    EXPECT_NEAR(score.chrf, 100, 1e-9) << score.direction;
  }
}

/// One direction with these test sentences, and a row to train on. Collective.
std::string make_pairs(const TestFolder& folder, parallel::Communicator& world, const std::vector<std::string>& sources,
                       const std::vector<std::string>& targets) {
  const std::string output = folder.path() / "own_pairs.h5";
  parallel::all_ranks(world, [] {});  // the others may still read the one before
  parallel::all_ranks(world, [&] {
    if (world.rank() != 0) return;
    const auto tokenizer = data::make_byte_tokenizer({data::language_tag("en"), data::language_tag("de")});
    data::TokenCorpusWriter writer(output, tokenizer, {"en", "de"}, data::Overwrite::kReplace);
    const auto add = [&](const std::string& text, int32_t group, data::Split split) {
      return writer.add({"row", group, split, static_cast<int64_t>(text.size()), 0}, tokenizer->encode(text));
    };
    writer.align({add("the", 0, data::Split::kTrain), add("der", 1, data::Split::kTrain)});
    for (size_t i = 0; i < sources.size(); ++i) {
      writer.align({add(sources[i], 0, data::Split::kTest), add(targets[i], 1, data::Split::kTest)});
    }
    writer.finish();
  });
  return output;
}

TEST_F(TranslationRun, ABlankSourceIsABlankTranslation) {
  launch::Recipe recipe = thor_translation(corpus_);
  recipe.data.directions = "en-de";
  const std::vector<std::string> sources{"", "the cat", "\xC2\xA0 ", "sat", ""}, blank(3, "");
  const auto translations = [&](const std::vector<std::string>& of) {
    const auto corpus =
        data::TokenCorpus::open(make_pairs(folder_, *world_, of, std::vector<std::string>(of.size(), "x")));
    const data::ParallelText text(corpus, data::Split::kTest, launch::pair_selection(recipe, data::Split::kTest));
    const moetrain::BeamOptions options{
        .beam = 2, .longest_ratio = 0.5, .longest_extra = 2, .end_token = corpus.tokenizer().end_of_text()};
    const auto model = launch::build_model(recipe, corpus.tokenizer().vocabulary_size(), at::kCPU);
    auto& translator = dynamic_cast<moetrain::EncoderDecoder&>(*model);
    const auto found = launch::translate(translator, {text, /*batch=*/2}, options, test_groups());
    for (size_t i = 0; i < of.size(); ++i) {
      const std::string one = launch::translate_text(translator, corpus.tokenizer(), {of[i], "de"}, options);
      EXPECT_EQ(one.empty(), found[i].empty()) << i;
    }
    return found;
  };
  const auto found = translations(sources);
  ASSERT_EQ(found.size(), 5u);
  for (size_t i = 0; i < found.size(); ++i) EXPECT_EQ(found[i].empty(), i != 1 && i != 3) << i << found[i];
  EXPECT_EQ(translations(blank), blank);
}

TEST_F(TranslationRun, WhatIsNotThereHasNoScore) {
  launch::Recipe recipe = thor_translation(corpus_);
  recipe.data.directions = "en-de";
  const auto corpus = data::TokenCorpus::open(make_pairs(folder_, *world_, {"the", ""}, {"", " "}));
  const data::ParallelText text(corpus, data::Split::kTest, launch::pair_selection(recipe, data::Split::kTest));
  const auto scores = launch::score_translations(text, {"der", ""});
  EXPECT_TRUE(std::isnan(scores[0].bleu) && std::isnan(scores[0].bleu_lowercase) && std::isnan(scores[0].chrf));
  const auto records = launch::records_of(scores);
  EXPECT_EQ(records[0].first, "en-de");
  EXPECT_TRUE(launch::record_to_json(records[0].second)["bleu"].is_null());
  const launch::GroupScore empty{.name = "de"}, silent{.name = "de", .nll = 3, .tokens = 2};
  EXPECT_TRUE(std::isnan(empty.loss()) && std::isnan(empty.bits_per_byte()) && std::isnan(silent.bits_per_byte()));
  EXPECT_EQ(launch::describe(silent), "loss 1.5 nats/target, accuracy 0");
}

TEST_F(TranslationRun, AnAverageIsTheMeanOfTheNewestCheckpoints) {
  const launch::Recipe recipe = recipe_in("averaged", "float32");
  run(recipe);
  const auto third = saved(recipe, 3), sixth = saved(recipe, 6);
  const auto weights = [&](int64_t update, int64_t average) {
    std::vector<at::Tensor> all;
    const auto trained =
        launch::load_trained_model(recipe.run.folder, update, at::kCPU, {.overrides = {}, .average = average});
    for (const auto& tensor : launch::parameter_tensors(*trained.model)) all.push_back(tensor.tensor.detach());
    return all;
  };
  const auto mean = weights(6, 2), newest = weights(6, 1), older = weights(3, 1);
  double moved = 0;
  for (size_t i = 0; i < mean.size(); ++i) {
    EXPECT_TRUE(mean[i].equal(((third[i] + sixth[i]) / 2).to(at::kFloat))) << i;
    EXPECT_TRUE(newest[i].equal(sixth[i].to(at::kFloat))) << i;
    EXPECT_TRUE(older[i].equal(third[i].to(at::kFloat))) << i;
    moved += (third[i] - sixth[i]).abs().sum().item<double>();
  }
  EXPECT_GT(moved, 0.1);
  EXPECT_THROW(weights(6, 3), parallel::UserError);
  EXPECT_THROW(weights(3, 2), parallel::UserError) << "only those up to the update count";
}

TEST_F(TranslationRun, ATeacherNeitherSetsThreadsNorNeedsItsOwnTokenFile) {
  launch::Recipe teacher = recipe_in("teacher", "float64");
  teacher.run.threads = 2;
  teacher.objective.kind = "next_token";
  const std::filesystem::path copy = folder_.path() / "copy.h5";
  parallel::all_ranks(*world_, [&] {
    if (world_->rank() == 0) std::filesystem::copy_file(corpus_, copy);
  });
  teacher.data.file = copy;
  run(teacher);
  remove_on_one_rank(copy);
  launch::Recipe student = recipe_in("student", "float64");
  student.objective.kind = "distillation";
  student.objective.own<moetrain::DistillationConfig>().teacher = teacher.run.folder;
  launch::Trainer trainer(student, test_groups(), at::kCPU, interrupt_, {});
  EXPECT_EQ(at::get_num_threads(), 1);
  EXPECT_EQ(trainer.run(), launch::Trainer::End::kDone);
  launch::Recipe other = recipe_in("of_another_kind", "float64");
  other.objective = student.objective;
  other.model.kind = "decoder_lm";
  other.model.encoder_layers = 0;
  EXPECT_THROW(launch::Trainer(other, test_groups(), at::kCPU, interrupt_, {}), parallel::UserError);
}

}  // namespace
