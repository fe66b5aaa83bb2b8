// Parts of a text as tasks: which there are, and which stands at a position of a run.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "data/batching/mixed_text.h"
#include "data/batching/task_sampler.h"
#include "data/datasets/token_corpus_writer.h"
#include "data/tokenizers/byte_tokenizer.h"
#include "tests/data/support.h"

namespace data_tests {
namespace {

using data::AbsentTask;
using data::TaskConfig;
using data::TaskSampler;
using data::TextPart;

using PartCounts = std::vector<int64_t>;

/// Walks the first positions: each index of a part comes once, in whole draws, and draws_before counts them.
PartCounts walk(const TaskSampler& sampler, size_t parts, int64_t positions, int64_t together) {
  PartCounts counts(parts, 0);
  std::vector<std::set<int64_t>> seen(parts);
  for (int64_t p = 0; p < positions; ++p) {
    EXPECT_EQ(sampler.draws_before(3, p), counts) << p;
    const auto draw = sampler.draw_at(3, p);
    EXPECT_TRUE(seen[static_cast<size_t>(draw.source)].insert(draw.index).second) << p;
    EXPECT_EQ(draw.source, sampler.draw_at(3, p / together * together).source) << p;
    EXPECT_EQ(draw.index % together, p % together);
    ++counts[static_cast<size_t>(draw.source)];
  }
  return counts;
}

TEST(TaskSampler, TakesTurnsByDraws) {
  const TaskSampler sampler(3, 4);
  EXPECT_EQ(walk(sampler, 3, 50, 4), (PartCounts{18, 16, 16}));
  for (int64_t p = 0; p < 50; ++p) {
    EXPECT_EQ(sampler.draw_at(1, p).source, p / 4 % 3);
    EXPECT_EQ(sampler.draw_at(1, p).index, p / 12 * 4 + p % 4);
  }
  const int64_t far = int64_t{3} << 40;
  EXPECT_EQ(sampler.draws_before(1, far * 4 + 1), (PartCounts{far / 3 * 4 + 1, far / 3 * 4, far / 3 * 4}));
}

TEST(TaskSampler, WeighsWholeDraws) {
  const PartCounts counts = walk(TaskSampler({3.0, 1.0}, 5), 2, 2048 * 5, 5);
  EXPECT_EQ(counts, (PartCounts{2048 * 5 / 4 * 3, 2048 * 5 / 4}));
  const TaskSampler alone({1.0, 2.0}, 1);
  const data::MixtureSampler mixture({1.0, 2.0});
  for (int64_t p = 0; p < 100; ++p) {
    EXPECT_EQ(alone.draw_at(5, p).source, mixture.draw_at(5, p).source) << "sequences alone are a mixture's";
    EXPECT_EQ(alone.draw_at(5, p).index, mixture.draw_at(5, p).index);
  }
}

/// A token file of three groups; the letter of each is its own, so that a window says whose it is.
std::string grouped_file(const TemporaryFolder& folder, const std::string& name,
                         const std::vector<std::string>& groups = {"en", "de", "fr"}) {
  const auto tokenizer = data::load_byte_tokenizer("");
  data::TokenCorpusWriter writer(folder / name, tokenizer, groups);
  for (int32_t document = 0; document < 30; ++document) {
    const int32_t group = document % 3;
    const int64_t size = 19 + 40 * (2 - group);
    const auto split = document >= 24 ? data::Split::kHeldOut : data::Split::kTrain;
    writer.add({"d" + std::to_string(document), group, split, size, 0},
               tokenizer->encode(std::string(static_cast<size_t>(size), static_cast<char>('a' + group))));
  }
  writer.finish();
  return folder / name;
}

TEST(TaskParts, AreGroupsOfDocumentsInTheOrderOfTheNames) {
  const TemporaryFolder folder;
  const auto mixture = data::TokenMixture::open(grouped_file(folder, "text.h5"));
  const data::MixedText text(mixture, data::task_parts(mixture, {"fr", "en"}, AbsentTask::kRefused),
                             data::Split::kTrain);
  ASSERT_EQ(text.parts().size(), 2u);
  EXPECT_EQ(text.size(), 8 * 20 + 8 * 100) << "de is left out";
  ASSERT_EQ(text.groups().size(), 2u);
  EXPECT_EQ(text.groups()[0].name, "fr");
  EXPECT_EQ(text.groups()[0].bytes, 8 * 19);
  EXPECT_EQ(text.groups()[1].bytes, 8 * 99);
  const data::TokenBatch batch = text.read(20, {{1, 3}, {0, 0}, {0, 8}});
  EXPECT_EQ(batch.tasks, (std::vector<int64_t>{1, 0, 0}));
  EXPECT_TRUE(text.read(20, {}).tasks.has_value()) << "a rank without a sequence has tasks, too";
  for (size_t i = 0; i < 19; ++i) {
    EXPECT_EQ(batch.targets[i], 'a');
    EXPECT_EQ(batch.targets[20 + i], 'c');
    EXPECT_EQ(batch.targets[40 + i], data::TokenBatch::kIgnored) << "past the end";
  }
  for (size_t i = 0; i < 60; ++i) EXPECT_EQ(batch.groups[i], i < 20 ? 1 : 0) << i;
}

TEST(TaskParts, OfFilesAndTheirGroups) {
  const TemporaryFolder folder;
  const std::string a = grouped_file(folder, "a.h5"), b = grouped_file(folder, "b.h5");
  const auto mixture = data::TokenMixture::open(a + ":3," + b);
  const std::vector<TextPart> parts = data::task_parts(mixture, {"b", "a/de", "a/en"}, AbsentTask::kRefused);
  EXPECT_EQ(parts[0].source, 1);
  EXPECT_EQ(parts[0].group, -1);
  EXPECT_EQ(parts[1].group, 1);
  EXPECT_EQ(parts[2].task, 2);
  EXPECT_EQ(data::tasks_of_groups(mixture, {"b", "a/de", "a/en"}, AbsentTask::kRefused),
            (std::vector<int64_t>{2, 1, -1, 0, 0, 0}));
  // By the files' weights, and within a file as much text as there is.
  EXPECT_EQ(data::part_weights(mixture, parts, {7, 10, 30}, {}), (std::vector<double>{1, 0.75, 2.25}));
  EXPECT_EQ(data::task_parts(data::TokenMixture::open(b), {"b"}, AbsentTask::kRefused).front().group, -1);
}

TEST(TaskParts, SharesOfATemperatureAreTheFormulas) {
  const TemporaryFolder folder;
  const auto mixture = data::TokenMixture::open(grouped_file(folder, "text.h5"));
  const auto parts = data::task_parts(mixture, {"en", "de", "fr"}, AbsentTask::kRefused);
  const std::vector<int64_t> sequences{100000, 2500, 37};
  for (const double temperature : {1.0, 2.0, 4.0, 50.0}) {
    const TaskConfig config{.names = "en,de,fr", .sampling = "temperature", .temperature = temperature};
    const TaskSampler sampler(data::part_weights(mixture, parts, sequences, config), 16);
    double sum = 0;
    for (const int64_t n : sequences) sum += std::pow(static_cast<double>(n), 1 / temperature);
    constexpr int64_t kDraws = 20480;
    PartCounts counted(3, 0);
    for (int64_t draw = 0; draw < kDraws; ++draw) ++counted[static_cast<size_t>(sampler.draw_at(1, draw * 16).source)];
    for (size_t t = 0; t < 3; ++t) {
      const double share = std::pow(static_cast<double>(sequences[t]), 1 / temperature) / sum;
      EXPECT_NEAR(static_cast<double>(counted[t]), share * kDraws, 3) << "task " << t << " at " << temperature;
    }
  }
}

TEST(TaskParts, RefuseWhatIsNoTask) {
  const TemporaryFolder folder;
  const std::string a = grouped_file(folder, "a.h5"), b = grouped_file(folder, "b.h5");
  const auto one = data::TokenMixture::open(a), two = data::TokenMixture::open(a + "," + b);
  const auto refused = [](const data::TokenMixture& mixture, const std::vector<std::string>& names,
                          AbsentTask absent = AbsentTask::kRefused) {
    return error_of([&] { data::task_parts(mixture, names, absent); });
  };
  EXPECT_EQ(refused(one, {"en", "cs"}),
            "tasks.names: the task 'cs' has no data: it is neither a file of data.file nor a group of its documents; "
            "there are a, en, de, fr");
  EXPECT_EQ(refused(two, {"a", "a/de"}),
            "tasks.names: 'a' and 'a/de' share documents; legal: files, or groups of their documents, but not both of "
            "one file");
  EXPECT_EQ(refused(one, {"cs", "pl"}, AbsentTask::kPassedOver),
            "tasks.names: none of the tasks cs, pl has data; there are a, en, de, fr");
  EXPECT_EQ(data::task_parts(one, {"cs", "de"}, AbsentTask::kPassedOver).front().task, 1);
  const auto twins = data::TokenMixture::open(grouped_file(folder, "twins.h5", {"en", "en", "fr"}));
  EXPECT_EQ(refused(twins, {"en"}),
            "tasks.names: 'en' names several files or groups of data.file; legal: files and "
            "groups whose names differ");
}

TEST(TaskConfig, RefusesNamesAndKeysThatMeanNothing) {
  const auto refused = [](const TaskConfig& config, const data::DataConfig& of = {},
                          data::TaskText text = data::TaskText::kRunning) {
    return error_of([&] { data::check_tasks(config, of, text, "classifier"); });
  };
  EXPECT_EQ(refused({.names = "en, de,en"}),
            "tasks.names = \"en, de,en\": two tasks of the name 'en'; legal: names that differ, such as \"en, de\"");
  EXPECT_EQ(refused({.names = "en,,de"}),
            "tasks.names = \"en,,de\": a name is missing; legal: names that differ, such as \"en, de\"");
  EXPECT_EQ(
      refused({.each = "update"}),
      "tasks.sampling = \"weights\", tasks.each = \"update\" and tasks.temperature = 1 without tasks.names: there "
      "is no task to draw; legal: tasks.names = \"en, de\", groups of documents or token files, or none of these "
      "keys");
  EXPECT_EQ(
      refused({.names = "en", .temperature = 4.0}),
      "tasks.temperature = 4 with tasks.sampling = \"weights\" weighs nothing; legal: sampling = \"temperature\", "
      "or temperature = 1");
  EXPECT_EQ(refused({.names = "en"}, {}, data::TaskText::kOther),
            "tasks.names = \"en\" with model.kind = \"classifier\": tasks are of running text or of sentence pairs, "
            "which this "
            "model does not read; legal: tasks.names = \"\", the default, or model.kind = \"decoder_lm\" or "
            "\"encoder_decoder\"");
  EXPECT_EQ(refused({.names = "en-de", .sampling = "temperature", .temperature = 3.0}, {}, data::TaskText::kPairs),
            "tasks.sampling = \"temperature\" of sentence pairs, whose directions data.temperature weighs; legal: "
            "sampling = \"weights\" and data.temperature = 3");
  EXPECT_EQ(
      refused({.names = "en-de", .each = "micro_batch"}, {}, data::TaskText::kPairs),
      "tasks.each = \"micro_batch\" of sentence pairs, of which an update is a batch of like length; legal: each = "
      "\"sequence\" or \"update\"");
  EXPECT_EQ(refused({.names = "en-de", .sampling = "round_robin"}, {}, data::TaskText::kPairs),
            "tasks.sampling = \"round_robin\" of sentence pairs with tasks.each = \"sequence\", where an update holds "
            "pairs of all directions; legal: each = \"update\", or sampling = \"weights\"");
  EXPECT_EQ(
      refused({.names = "en"}, {.packing = "joined"}),
      "tasks.names = \"en\" with data.packing = \"joined\", whose sequences are documents of several tasks; legal: "
      "packing = \"documents\" or \"stream\"");
  EXPECT_EQ(
      refused({.names = "en", .sampling = "round_robin"}, {.packing = "documents"}),
      "tasks.sampling = \"round_robin\" and tasks.each = \"sequence\" with data.packing = \"documents\", whose rows "
      "hold documents of several tasks; legal: sampling = \"weights\" and each = \"sequence\", or packing = "
      "\"stream\"");
  EXPECT_NO_THROW(
      data::check_tasks({.names = " en , de "}, {.packing = "documents"}, data::TaskText::kRunning, "decoder_lm"));
  EXPECT_EQ(data::task_names({.names = " en , de "}), (std::vector<std::string>{"en", "de"}));
}

}  // namespace
}  // namespace data_tests
