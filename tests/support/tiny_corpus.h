// defines: TestFolder, prepared_by_one, make_tiny_corpus: a folder that all ranks of a test share, and a token file in
// it
#pragma once
#include <ATen/ATen.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "data/prepare/prepare.h"
#include "parallel/base/random.h"
#include "parallel/comm/agreement.h"

/// A folder of the system's temporary one, the same for all ranks of a job, removed at the end.
class TestFolder {
 public:
  TestFolder(const std::string& name, parallel::Communicator& world)
      : path_(std::filesystem::temp_directory_path() / ("moetrain_" + name + "_" + unique_number(world))),
        world_(world) {
    parallel::all_ranks(world_, [&] {
      if (world_.rank() != 0) return;
      std::filesystem::remove_all(path_);
      std::filesystem::create_directories(path_);
    });
  }
  ~TestFolder() {
    parallel::all_ranks(world_, [] {});  // the others may still be reading
    parallel::all_ranks(world_, [&] {
      std::error_code ignored;
      if (world_.rank() == 0) std::filesystem::remove_all(path_, ignored);
    });
  }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  /// Drawn by the first rank. (Ranks of several hosts have no parent in common.)
  static std::string unique_number(parallel::Communicator& world) {
    const int64_t drawn = world.rank() == 0 ? std::random_device()() : 0;
    at::Tensor number = at::full({1}, drawn, at::kLong);
    world.all_reduce(number, parallel::ReduceOp::kMax).wait();
    return std::to_string(number.item<int64_t>());
  }

  std::filesystem::path path_;
  parallel::Communicator& world_;
};

/// 16 bytes: in every second block one of six sentences of its "language", which begin alike, otherwise random words.
inline std::string tiny_block(const parallel::RandomStream& stream, int64_t document, int64_t block) {
  static const std::vector<std::vector<std::string>> words{{"the ", "cat ", "sat ", "on ", "a ", "mat. "},
                                                           {"der ", "Hund ", "lief ", "im ", "Park. ", "und "}};
  const std::vector<std::string>& own = words[static_cast<size_t>(document % 2)];
  const int64_t place = (document * 13 + block) * 8;
  std::string text;
  if (block % 2 == 0) text = own[0] + own[1] + own[static_cast<size_t>(stream.below(place, 6))];
  for (int64_t w = 1; text.size() < 15; ++w)
    text += own[static_cast<size_t>(block % 2 == 0 ? w % 6 : stream.below(place + w, 6))];
  return text.substr(0, 15) + " ";
}

/// The token file `name` that one rank prepares, of what `fill(options)` writes into the folder and says of it in the
/// options. Collective.
template <class Fill>
std::string prepared_by_one(const TestFolder& folder, parallel::Communicator& world, const std::string& name,
                            const Fill& fill) {
  const std::string output = folder.path() / name;
  parallel::all_ranks(world, [&] {
    if (world.rank() != 0) return;
    data::PrepareOptions options;
    options.tokenizer = "byte";
    options.output = output;
    fill(options);
    data::prepare(options);
  });
  return output;
}

/// Two "languages", 208 byte tokens a document with its end, so that windows of 16 tokens are the blocks of a document.
/// Half of them are one of a few sentences: in every batch there are tokens with the same history, between which only
/// round-off could choose. One rank writes. Collective.
inline std::string make_tiny_corpus(const TestFolder& folder, parallel::Communicator& world, int64_t documents = 60,
                                    const std::string& name = "tiny") {
  return prepared_by_one(folder, world, name + ".h5", [&](data::PrepareOptions& options) {
    options.text = {folder.path() / (name + ".jsonl")};
    options.heldout = 0.1;
    std::ofstream file(options.text.front());
    const parallel::RandomStream stream(7, "tiny corpus");
    for (int64_t d = 0; d < documents; ++d) {
      std::string text;
      for (int64_t block = 0; block < 13; ++block) text += tiny_block(stream, d, block);
      text.pop_back();
      file << "{\"language\": \"" << (d % 2 == 0 ? "en" : "de") << "\", \"text\": \"" << text << "\"}\n";
    }
  });
}
