#include "data/prepare/holdout.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "tests/data/support.h"

namespace data_tests {
namespace {

using data::Split;

std::vector<data::SourceDocument> translated_pages(int64_t pages) {
  std::vector<data::SourceDocument> documents;
  for (int64_t i = 0; i < pages; ++i) {
    for (const std::string language : {"de", "en", "fr"}) {
      if (language == "fr" && i % 7 != 0) continue;
      const std::string key = "page" + std::to_string(i) + ".1";
      documents.push_back({language + "/" + key, language + "/" + key, key, language, "text"});
    }
  }
  return documents;
}

TEST(Holdout, TranslationsOfAPageGoTogether) {
  const auto documents = translated_pages(400);
  const auto holdout = data::choose_heldout(documents, 0.1);
  std::map<std::string, std::set<Split>> splits;
  for (size_t i = 0; i < documents.size(); ++i) splits[documents[i].key].insert(holdout.split[i]);
  for (const auto& [key, found] : splits) EXPECT_EQ(found.size(), 1u) << key;
  const auto heldout = std::count_if(splits.begin(), splits.end(),
                                     [](const auto& page) { return page.second.contains(Split::kHeldOut); });
  EXPECT_NEAR(static_cast<double>(heldout), 40.0, 4 * std::sqrt(36.0)) << "four standard deviations";
  EXPECT_TRUE(holdout.notes.empty());
}

TEST(Holdout, MoreDocumentsDoNotMoveOldOnes) {
  const auto few = translated_pages(200);
  const auto many = translated_pages(300);
  const auto before = data::choose_heldout(few, 0.1);
  const auto after = data::choose_heldout(many, 0.1);
  for (size_t i = 0; i < few.size(); ++i) EXPECT_EQ(before.split[i], after.split[i]) << few[i].name;
}

TEST(Holdout, EveryGroupOfTwoIsInBothSplits) {
  for (int64_t start = 0; start < 30; ++start) {
    std::vector<data::SourceDocument> documents;
    for (int64_t i = 0; i < 9; ++i) {
      const std::string key = std::to_string(start * 100 + i);
      documents.push_back({key, key, key, i < 2 ? "small" : "large", "text"});
    }
    for (const double fraction : {0.01, 0.9}) {
      const auto holdout = data::choose_heldout(documents, fraction);
      std::set<std::pair<std::string, Split>> seen;
      for (size_t i = 0; i < documents.size(); ++i) seen.insert({documents[i].group, holdout.split[i]});
      EXPECT_EQ(seen.size(), 4u) << start << ", " << fraction;
      EXPECT_TRUE(holdout.notes.empty());
    }
  }
}

TEST(Holdout, SingleDocumentsAreForTrainingAndItIsSaid) {
  const auto holdout = data::choose_heldout({{"a", "a", "a", "solo", "x"}}, 0.9);
  EXPECT_EQ(holdout.split, std::vector<Split>{Split::kTrain});
  ASSERT_EQ(holdout.notes.size(), 1u);
  EXPECT_NE(holdout.notes[0].find("'solo'"), std::string::npos) << holdout.notes[0];
  const auto none = data::choose_heldout(translated_pages(5), 0);
  EXPECT_EQ(std::count(none.split.begin(), none.split.end(), Split::kHeldOut), 0);
  EXPECT_TRUE(none.notes.empty());
  for (const double fraction : {-0.1, 1.0, std::nan("")}) error_of([&] { data::choose_heldout({}, fraction); });
}

}  // namespace
}  // namespace data_tests
