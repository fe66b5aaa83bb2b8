#include <ATen/ATen.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "launch/commands/commands.h"
#include "launch/commands/job.h"
#include "launch/commands/run_text.h"
#include "launch/interchange/hugging_face.h"
#include "launch/models/model_builder.h"
#include "launch/models/trained_model.h"
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

struct ExportArguments {
  std::string run, folder, data_file;
  std::shared_ptr<const Registry> registry;
};

/// "Empty it", which is legal for any other folder, would here take the run away.
void check_apart(const std::string& run, const std::string& folder) {
  namespace fs = std::filesystem;
  const fs::path inner = fs::weakly_canonical(run), outer = fs::weakly_canonical(folder);
  if (std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first != outer.end()) return;
  parallel::user_error("folder ", folder, " holds the run ", run, " itself; name one that does not exist yet");
}

void export_run(const ExportArguments& arguments) {
  check_apart(arguments.run, arguments.folder);
  const TrainedModel trained = load_newest_model(arguments.run, arguments.data_file, arguments.registry);
  interchange::ExportSource source;
  source.shape = {.model = trained.recipe.model,
                  .moe = trained.recipe.moe,
                  .vocabulary_size = trained.info.vocabulary,
                  .sequence_length = trained.recipe.data.sequence_length};
  source.tokenizer = trained.tokenizer;
  for (const auto& [name, tensor] : named_parameters(*trained.model)) {
    source.parameters[name] = {dtype_name(tensor), tensor.sizes().vec(), tensor.const_data_ptr()};
  }
  interchange::export_hugging_face(source, arguments.folder);
  std::printf("exported update %lld of %s to %s\n", static_cast<long long>(trained.info.update), arguments.run.c_str(),
              arguments.folder.c_str());
}

}  // namespace

void add_export_command(CLI::App& app, Invocation& invocation) {
  auto arguments = std::make_shared<ExportArguments>();
  arguments->registry = invocation.registry;
  CLI::App* command = app.add_subcommand("export", "write a run's newest checkpoint as a Hugging Face folder");
  command->add_option("run", arguments->run, "run folder")->required();
  command->add_option("folder", arguments->folder, "folder to make")->required();
  add_data_file(*command, arguments->data_file);
  command->callback([arguments] { run_once([&] { export_run(*arguments); }); });
}

}  // namespace launch
