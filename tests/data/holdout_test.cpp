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

data::SourceDocument document_of(const std::string& name, const std::string& group, std::string text) {
  return {name, name, name, group, std::move(text)};
}

/// The share of the text that is held out, after cutting.
double heldout_share(std::vector<data::SourceDocument> documents, double fraction) {
  auto holdout = data::choose_heldout(documents, fraction);
  data::cut_documents(documents, holdout);
  double heldout = 0, all = 0;
  for (size_t i = 0; i < documents.size(); ++i) {
    const auto bytes = static_cast<double>(documents[i].text.size());
    all += bytes;
    heldout += holdout.split[i] == Split::kHeldOut ? bytes : 0;
  }
  return heldout / all;
}

TEST(Holdout, TheShareIsOfTextWhateverTheNumberAndSizeOfDocuments) {
  for (int64_t start = 0; start < 10; ++start) {
    for (const int64_t count : {1, 2, 3, 5, 10, 30, 100}) {
      for (const double fraction : {0.05, 0.1, 0.5, 0.9}) {
        std::vector<data::SourceDocument> documents, skewed;
        for (int64_t i = 0; i < count; ++i) {
          const std::string name = parallel::concat("document ", start, " ", i);
          documents.push_back(document_of(name, "text", sentences(static_cast<uint64_t>(start * 100 + i), 20)));
          skewed.push_back(document_of(name, "text", sentences(static_cast<uint64_t>(start), i == 0 ? 400 : 1)));
        }
        const double slack = 0.51 * std::min(fraction, 1 - fraction);
        EXPECT_NEAR(heldout_share(documents, fraction), fraction, slack) << start << ", " << count;
        EXPECT_NEAR(heldout_share(skewed, fraction), fraction, slack)
            << start << ", " << count << ", one is most of it";
      }
    }
  }
}

TEST(Holdout, TheEndOfALongDocumentIsHeldOutAtALineAndItIsSaid) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "line " + std::to_string(1000 + i) + "\n";
  std::vector<data::SourceDocument> documents = {document_of("long.txt", "text", text)};
  auto holdout = data::choose_heldout(documents, 0.1);
  ASSERT_EQ(holdout.notes.size(), 1u);
  EXPECT_NE(holdout.notes[0].find("The end of 'long.txt' is held out"), std::string::npos) << holdout.notes[0];
  data::cut_documents(documents, holdout);
  ASSERT_EQ(documents.size(), 2u);
  EXPECT_EQ(holdout.split, (std::vector<Split>{Split::kTrain, Split::kHeldOut}));
  EXPECT_EQ(documents[0].text + documents[1].text, text) << "nothing is lost";
  EXPECT_EQ(documents[1].text.substr(0, 10), "line 1090\n");
  EXPECT_NE(documents[0].identity, documents[1].identity);
}

TEST(Holdout, CharactersAreNotCut) {
  std::string text;
  for (int i = 0; i < 301; ++i) text += "\xE4\xB8\xAD";
  for (const double fraction : {0.1, 0.11, 0.12, 0.13}) {
    std::vector<data::SourceDocument> documents = {document_of("zh", "zh", text)};
    auto holdout = data::choose_heldout(documents, fraction);
    ASSERT_EQ(holdout.cuts.size(), 1u);
    EXPECT_EQ(holdout.cuts[0].at % 3, 0u);
  }
}

TEST(Holdout, EachDocumentItsOwnGroup) {
  for (const int64_t words : {1, 40}) {  // too short to be cut, and long enough
    std::vector<data::SourceDocument> documents;
    for (int64_t i = 0; i < 60; ++i) {
      const std::string name = "g" + std::to_string(i);
      std::string text;
      for (int64_t w = 0; w < words; ++w) text += parallel::concat("word", i, " or", w, w % 8 == 7 ? "\n" : " ");
      documents.push_back(document_of(name, name, text));
    }
    EXPECT_NEAR(heldout_share(documents, 0.1), 0.1, 0.051) << words;
    const auto holdout = data::choose_heldout(documents, 0.1);
    EXPECT_EQ(holdout.cuts.size(), words == 1 ? 0u : 60u);
    std::string notes;
    for (const std::string& note : holdout.notes) notes += note + "\n";
    EXPECT_NE(notes.find(words == 1 ? "All text of group" : "The ends of"), std::string::npos) << notes;
    EXPECT_NE(notes.find(" more"), std::string::npos) << "sixty names would be a page: " << notes;
    EXPECT_LE(holdout.notes.size(), 2u);
  }
}

TEST(Holdout, IsAFunctionOfTheTextsAndNotOfTheirOrder) {
  std::vector<data::SourceDocument> documents;
  for (int64_t i = 0; i < 12; ++i) {
    documents.push_back(
        document_of("d" + std::to_string(i), i < 3 ? "few" : "many", sentences(static_cast<uint64_t>(i), 5 + i * i)));
  }
  const auto forward = data::choose_heldout(documents, 0.2);
  std::vector<data::SourceDocument> reversed(documents.rbegin(), documents.rend());
  const auto backward = data::choose_heldout(reversed, 0.2);
  EXPECT_EQ(std::vector<Split>(backward.split.rbegin(), backward.split.rend()), forward.split);
  ASSERT_EQ(forward.cuts.size(), backward.cuts.size());
  for (const data::Cut& cut : forward.cuts) {
    EXPECT_TRUE(std::any_of(backward.cuts.begin(), backward.cuts.end(), [&](const data::Cut& other) {
      return other.document == 11 - cut.document && other.at == cut.at;
    }));
  }
}

}  // namespace
}  // namespace data_tests
