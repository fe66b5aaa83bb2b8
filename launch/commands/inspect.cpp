#include <ATen/ATen.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "launch/commands/commands.h"
#include "launch/commands/job.h"
#include "launch/commands/run_text.h"
#include "launch/models/trained_model.h"
#include "launch/profiles/plan_file.h"
#include "launch/use/expert_use.h"
#include "moetrain/models/decoder_lm.h"
#include "parallel/base/fault.h"
#include "parallel/base/printable.h"
#include "parallel/comm/local_communicator.h"

namespace launch {
namespace {

struct InspectArguments {
  std::string path, logits, dump, data_file;
  std::shared_ptr<const Registry> registry;
};

void print_logits(const InspectArguments& arguments) {
  const at::NoGradGuard no_gradient;
  const TrainedModel trained = load_whole_model(arguments.path, arguments.data_file, arguments.registry);
  const std::vector<int32_t> tokens = tokenizer_of(trained).encode(arguments.logits);
  if (tokens.empty()) parallel::user_error("--logits needs some text");
  const at::Tensor tokens_SL = at::tensor(tokens, at::kInt).to(at::kLong).unsqueeze(0);
  note_long_text(trained, "the text of --logits", static_cast<int64_t>(tokens.size()));
  parallel::LocalCommunicator alone;
  auto& model = model_as<moetrain::DecoderLm>(trained, "\"decoder_lm\"");
  const auto output = model.forward({.tokens = moetrain::TokenSide::whole(tokens_SL)}, {.group = alone});
  const at::Tensor logits_TV = model.head().logits(output.hidden_TD).to(at::kFloat).contiguous();
  nlohmann::json json{{"tokens", tokens}, {"logits", nlohmann::json::array()}};
  for (int64_t t = 0; t < logits_TV.size(0); ++t) {
    const float* row = logits_TV[t].const_data_ptr<float>();
    json["logits"].push_back(std::vector<float>(row, row + logits_TV.size(1)));
  }
  std::printf("%s\n", json.dump().c_str());
}

/// The plan that the run followed at that update, where the file is new enough to say.
std::string plan_text(const CheckpointInfo& info) {
  if (info.plan.empty()) return "";
  const auto json = nlohmann::json::parse(info.plan, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) parallel::user_error("the checkpoint of update ", info.update, ": plan: not JSON");
  return to_text(plan_from_json(json, parallel::concat("the checkpoint of update ", info.update, ": plan")));
}

void print_checkpoint(const InspectArguments& arguments) {
  const TrainedModel trained = load_whole_model(arguments.path, arguments.data_file, arguments.registry);
  const auto count = trained.model->parameter_count();
  std::printf("update %lld, %lld tokens, %lld parameters (%lld active), tokenizer %s, build %s\n",
              static_cast<long long>(trained.info.update), static_cast<long long>(trained.info.tokens),
              static_cast<long long>(count.total), static_cast<long long>(count.active),
              trained.info.tokenizer_hash.c_str(), trained.info.build.c_str());
  std::printf("%s", plan_text(trained.info).c_str());
  for (const auto& parameter : trained.model->named_parameters()) {
    std::printf("%-48s %s\n", parameter.key().c_str(), parallel::concat(parameter.value().sizes()).c_str());
  }
}

void print_corpus(const data::TokenCorpus& corpus) {
  std::printf("tokenizer %s (%s), %lld tokens in the vocabulary, %lld documents\n", corpus.tokenizer().kind().c_str(),
              corpus.tokenizer_hash().c_str(), static_cast<long long>(corpus.tokenizer().vocabulary_size()),
              static_cast<long long>(corpus.documents()));
  for (const data::Split split : {data::Split::kTrain, data::Split::kHeldOut, data::Split::kTest}) {
    const data::TokenStream stream = corpus.stream(split);
    if (split == data::Split::kTest && stream.size() == 0) continue;
    for (size_t g = 0; g < corpus.groups().size(); ++g) {
      const auto group = static_cast<int64_t>(g);
      std::printf("%-9s %-12s %12lld tokens %12lld bytes\n", to_string(split).c_str(),
                  parallel::printable(corpus.groups()[g]).c_str(),
                  static_cast<long long>(stream.targets_of_group(group)),
                  static_cast<long long>(stream.bytes_of_group(group)));
    }
  }
}

void dump_text(const data::TokenCorpus& corpus, data::Split split) {
  for (int64_t i = 0; i < corpus.documents(); ++i) {
    if (corpus.document(i).split != split) continue;
    const std::string text = corpus.document_text(i);
    std::fwrite(text.data(), 1, text.size(), stdout);
  }
}

void inspect(const InspectArguments& arguments) {
  const bool is_run = std::filesystem::is_directory(arguments.path);
  if (is_run && !arguments.dump.empty()) {
    parallel::user_error("--dump prints a token file's text, and ", arguments.path,
                         " is a folder; legal: a token file");
  }
  if (!arguments.logits.empty()) return print_logits(arguments);
  if (is_run) return print_checkpoint(arguments);
  if (!arguments.data_file.empty()) {
    parallel::user_error("--data goes with a run folder, and ", arguments.path, " is none; legal: a token file alone");
  }
  if (is_use_file(arguments.path)) {
    if (!arguments.dump.empty()) {
      parallel::user_error("--dump prints a token file's text, and ", arguments.path,
                           " is a recorded use of experts; legal: a token file");
    }
    return print_use(read_use(arguments.path));
  }
  const data::TokenCorpus corpus =
      data::TokenCorpus::open(arguments.path, data::Verify::kTokens, arguments.registry->tokenizers);
  if (arguments.dump.empty()) return print_corpus(corpus);
  dump_text(corpus, arguments.dump == "train" ? data::Split::kTrain : data::Split::kHeldOut);
}

}  // namespace

void add_inspect_command(CLI::App& app, Invocation& invocation) {
  auto arguments = std::make_shared<InspectArguments>();
  arguments->registry = invocation.registry;
  CLI::App* command =
      app.add_subcommand("inspect", "what a run folder, a token file or a recorded use of experts holds");
  command->add_option("path", arguments->path, "run folder, token file, or what evaluate --record wrote")->required();
  command->add_option("--logits", arguments->logits, "print tokens and logits of this text as JSON (run folder)");
  command->add_option("--dump", arguments->dump, "print the text of a split (token file)")
      ->check(CLI::IsMember({"train", "heldout"}));
  add_data_file(*command, arguments->data_file);
  command->callback([arguments] { run_once([&] { inspect(*arguments); }); });
}

}  // namespace launch
