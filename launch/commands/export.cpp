#include <ATen/ATen.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "launch/commands/commands.h"
#include "launch/commands/job.h"
#include "launch/interchange/hugging_face.h"
#include "launch/training/model_builder.h"
#include "launch/training/trained_model.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

std::string dtype_name(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return "F32";
    case at::kDouble:
      return "F64";
    case at::kBFloat16:
      return "BF16";
    default:
      throw parallel::InternalError(parallel::concat("no safetensors name for ", tensor.scalar_type()));
  }
}

void export_run(const std::string& run, const std::string& folder) {
  const TrainedModel trained = load_newest_model(run);
  interchange::ExportSource source;
  source.shape = {.model = trained.recipe.model,
                  .moe = trained.recipe.moe,
                  .vocabulary_size = trained.info.vocabulary,
                  .sequence_length = trained.recipe.data.sequence_length};
  source.tokenizer = trained.corpus.shared_tokenizer();
  for (const auto& [name, tensor] : named_parameters(*trained.model)) {
    source.parameters[name] = {dtype_name(tensor), tensor.sizes().vec(), tensor.const_data_ptr()};
  }
  interchange::export_hugging_face(source, folder);
  std::printf("exported update %lld of %s to %s\n", static_cast<long long>(trained.info.update), run.c_str(),
              folder.c_str());
}

}  // namespace

void add_export_command(CLI::App& app, CommandResult&) {
  auto arguments = std::make_shared<std::pair<std::string, std::string>>();
  CLI::App* command = app.add_subcommand("export", "write a run's newest checkpoint as a Hugging Face folder");
  command->add_option("run", arguments->first, "run folder")->required();
  command->add_option("folder", arguments->second, "folder to make")->required();
  command->callback([arguments] { run_once([&] { export_run(arguments->first, arguments->second); }); });
}

}  // namespace launch
