// defines: make_tiny_pairs: a token file of sentence pairs in three languages
#pragma once
#include <map>
#include <string>
#include <vector>

#include "data/datasets/token_corpus_writer.h"
#include "data/tokenizers/byte_tokenizer.h"
#include "data/tokenizers/control_pieces.h"
#include "tests/support/tiny_corpus.h"

/// One sentence of each language: 1 to 7 words, in each language its own and in its own order.
inline std::vector<std::string> tiny_translations(int64_t row) {
  const std::vector<std::vector<std::string>> words{{"the ", "cat ", "sat ", "on ", "a ", "mat "},
                                                    {"der ", "Hund ", "lief ", "im ", "Park ", "und "},
                                                    {"le ", "chat ", "dort ", "sur ", "un ", "lit "}};
  const parallel::RandomStream stream(11, "tiny pairs");
  std::vector<std::string> sentences(words.size());
  for (int64_t w = 0; w <= stream.below(1000 + row, 7); ++w) {
    const auto word = static_cast<size_t>(stream.below(10000 + row * 10 + w, 6));
    sentences[0] += words[0][word];
    sentences[1] = words[1][word] + sentences[1];
    sentences[2] += words[2][word];
  }
  return sentences;
}

/// en and de in every row, fr in every third: 40 rows to train on, 7 held out, 5 for the test. Byte tokens, 260 of
/// them. One rank writes. Collective.
inline std::string make_tiny_pairs(const TestFolder& folder, parallel::Communicator& world) {
  const std::string output = folder.path() / "pairs.h5";
  parallel::all_ranks(world, [&] {
    if (world.rank() != 0) return;
    const std::vector<std::string> languages{"en", "de", "fr"};
    std::vector<std::string> tags;
    for (const std::string& language : languages) tags.push_back(data::language_tag(language));
    const auto tokenizer = data::make_byte_tokenizer(tags);
    data::TokenCorpusWriter writer(output, tokenizer, languages);
    for (int64_t row = 0; row < 52; ++row) {
      const data::Split split = row < 40 ? data::Split::kTrain : row < 47 ? data::Split::kHeldOut : data::Split::kTest;
      const std::vector<std::string> sentences = tiny_translations(row);
      std::vector<int64_t> aligned(languages.size(), -1);
      for (size_t g = 0; g < languages.size(); ++g) {
        if (g == 2 && row % 3 != 0) continue;
        aligned[g] = writer.add({"row " + std::to_string(row), static_cast<int32_t>(g), split,
                                 static_cast<int64_t>(sentences[g].size()), 0},
                                tokenizer->encode(sentences[g]));
      }
      writer.align(aligned);
    }
    writer.finish();
  });
  return output;
}
