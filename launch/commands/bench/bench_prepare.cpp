#include <stdlib.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "data/prepare/prepare.h"
#include "launch/commands/bench/parts.h"
#include "launch/commands/job.h"
#include "launch/commands/options/number_option.h"
#include "parallel/base/fault.h"
#include "parallel/memory/resident_memory.h"

namespace launch {
namespace {

struct BenchPrepareArguments {
  data::PrepareOptions options;
  std::string folder;
  std::vector<int64_t> threads = {0};
};

struct Prepared {
  data::PrepareSummary summary;
  std::vector<double> seconds;  // of each part between which a team would meet
};

/// A new folder in another, in which nothing of an earlier bench is; gone at the end.
class OwnFolder {
 public:
  explicit OwnFolder(const std::string& parent)
      : path_((std::filesystem::path(parent) / "bench_prepare_XXXXXX").string()) {
    if (::mkdtemp(path_.data()) == nullptr) {
      parallel::user_error("--folder ", parent, ": cannot make a folder in it: ", std::strerror(errno));
    }
  }
  ~OwnFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  OwnFolder(const OwnFolder&) = delete;
  OwnFolder& operator=(const OwnFolder&) = delete;

  std::filesystem::path path() const { return path_; }

 private:
  std::string path_;
};

/// Parts are kept, as of a text that is large.
Prepared prepare_timed(data::PrepareOptions options, int64_t threads) {
  options.threads = threads;
  options.parts_from_bytes = 0;
  options.overwrite = data::Overwrite::kReplace;
  Prepared prepared;
  const data::PrepareTeam team{.together = [&](const std::function<void()>& part) {
    const auto began = std::chrono::steady_clock::now();
    part();
    prepared.seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
  }};
  prepared.summary = data::prepare(options, team);
  return prepared;
}

void bench_prepare(const BenchPrepareArguments& arguments) {
  if (!std::filesystem::is_directory(arguments.folder)) {
    parallel::user_error("--folder ", arguments.folder, ": is no folder; legal: one that exists");
  }
  data::PrepareOptions options = arguments.options;
  for (const int64_t threads : arguments.threads) {
    const OwnFolder own(arguments.folder);
    options.output = own.path() / "tokens.h5";
    const Prepared prepared = prepare_timed(options, threads);
    int64_t bytes = 0, tokens = 0;
    for (const data::GroupSummary& group : prepared.summary.groups) {
      for (const data::SplitSummary& split : {group.train, group.heldout, group.test}) {
        bytes += split.bytes;
        tokens += split.tokens;
      }
    }
    double seconds = 0;
    for (const double part : prepared.seconds) seconds += part;
    const nlohmann::ordered_json line = {{"bench", "prepare"},
                                         {"threads", threads},
                                         {"bytes", bytes},
                                         {"tokens", tokens},
                                         {"seconds", seconds},
                                         {"bytes_per_second", static_cast<double>(bytes) / seconds},
                                         {"reading_seconds", prepared.seconds.at(0)},
                                         {"arranging_seconds", prepared.seconds.at(1)},
                                         {"encoding_seconds", prepared.seconds.at(2)},
                                         {"writing_seconds", prepared.seconds.at(3)},
                                         {"peak_memory_bytes", parallel::most_resident_bytes()}};
    std::printf("%s\n", line.dump().c_str());
  }
}

}  // namespace

void add_bench_prepare(CLI::App& bench, Invocation& invocation) {
  auto arguments = std::make_shared<BenchPrepareArguments>();
  data::PrepareOptions* options = &arguments->options;
  options->tokenizers = invocation.registry->tokenizers;
  options->chat_templates = invocation.registry->chat_templates;
  CLI::App* command = bench.add_subcommand("prepare", "what each part of preparing a text takes; JSON lines");
  command->add_option("--text", options->text, "as of prepare")->required();
  command->add_option("--field", options->field, "as of prepare");
  command->add_option("--tokenizer", options->tokenizer, "as of prepare; a vocabulary is trained in `arranging`");
  command->add_option("--vocabulary", options->vocabulary_size, "as of prepare")
      ->check(whole_number_between(260, int64_t{1} << 20));
  command->add_option("--chat-template", options->chat.name, "as of prepare")
      ->check(CLI::IsMember(options->chat_templates.names()));
  command->add_option("--folder", arguments->folder, "where the token file is written, and taken away again")
      ->required();
  command->add_option("--threads", arguments->threads, "one line each; 0: one per core")
      ->delimiter(',')
      ->check(whole_number_between(0, 1024));
  command->callback([arguments] { run_once([&] { bench_prepare(*arguments); }); });
}

}  // namespace launch
