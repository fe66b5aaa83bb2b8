#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>

#include "data/datasets/mapped_file.h"
#include "launch/checkpoint/checksum.h"
#include "launch/commands/commands.h"
#include "launch/commands/job.h"
#include "launch/commands/options/number_option.h"
#include "launch/commands/run_text.h"
#include "launch/interchange/adapters.h"
#include "launch/models/trained_model.h"
#include "launch/recipe/recipe_model.h"
#include "launch/runs/run_chat.h"
#include "launch/runs/run_folder.h"
#include "launch/runs/start_point.h"
#include "optim/optimizer.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

struct ExportArguments {
  std::string run, folder, update, data_file, dtype;
  bool adapter = false;
  int64_t shard_bytes = interchange::ExportSource().shard_bytes;
  std::shared_ptr<const Registry> registry;
};

/// "Empty it", which is legal for any other folder, would here take the run away.
void check_apart(const std::string& run, const std::string& folder) {
  namespace fs = std::filesystem;
  const fs::path inner = fs::weakly_canonical(run), outer = fs::weakly_canonical(folder);
  if (std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first != outer.end()) return;
  parallel::user_error("folder ", folder, " holds the run ", run, " itself; name one that does not exist yet");
}

/// The tensors of a checkpoint where they lie, each checked against its checksum.
void add_views(interchange::ParameterViews& views, const std::filesystem::path& path, const data::MappedFile& file,
               const std::string& group) {
  for (const StoredTensor& stored : stored_tensors(path, group)) {
    const std::byte* data = file.data() + stored.address;
    const auto bytes = static_cast<int64_t>(c10::elementSize(stored.type));
    if (partial_checksum(data, bytes, stored.elements(), 0) != stored.checksum) {
      parallel::user_error(path.string(), ": the checksum of '", stored.path, "' is wrong: the file is damaged");
    }
    views[stored.path.substr(group.size() + 1)] = {dtype_name(stored.type), stored.shape, data};
  }
}

/// How the run's conversations are written, for those who load the folder. A tokenizer that came with a model has its
/// own say.
void add_chat(interchange::ExportSource& source, const RunFolder& run, const Registry& registry) {
  const std::optional<data::ChatForm> form = read_chat(run);
  if (!form || source.tokenizer == nullptr || !source.tokenizer->files().empty()) return;
  const data::ChatTemplate& chat_template = registry.chat_templates.at(form->name);
  const std::string end = source.tokenizer->piece(source.tokenizer->end_of_text()).text;
  source.chat_template = data::jinja_of(chat_template, *form, end);
  source.answer_end = source.tokenizer->control(data::answer_end(chat_template, end));
}

/// What is written, where the user says nothing: as the checkpoint has it, of a bf16 run (whose checkpoints hold its
/// float32 masters) what it computed with.
std::string written_dtype(const ExportArguments& arguments, const Recipe& recipe) {
  const std::map<std::string, std::string> names = {{"float32", "F32"}, {"float16", "F16"}, {"bfloat16", "BF16"}};
  if (!arguments.dtype.empty()) return names.at(arguments.dtype);
  return recipe.run.precision == Precision::kBf16 ? "BF16" : "";
}

void export_run(const ExportArguments& arguments) {
  check_apart(arguments.run, arguments.folder);
  const RunFolder run{arguments.run};
  read_run_recipe(run, {}, arguments.registry);  // whether it is a run at all
  const std::filesystem::path path = chosen_checkpoint(run.path, arguments.update);
  const CheckpointInfo info = read_checkpoint_info(path);
  const Recipe recipe = read_recipe_at(run, info, {}, arguments.registry);
  const data::MappedFile file(path);
  interchange::ExportSource source{.shape = {.model = recipe.model,
                                             .moe = recipe.moe,
                                             .vocabulary_size = info.vocabulary,
                                             .sequence_length = recipe.data.sequence_length},
                                   .tokenizer = tokenizer_of(run.path, recipe, info, arguments.data_file),
                                   .came_with = came_with(run.path),
                                   .dtype = written_dtype(arguments, recipe),
                                   .shard_bytes = arguments.shard_bytes};
  add_chat(source, run, *arguments.registry);
  add_views(source.parameters, path, file, "parameters");
  // What is frozen has no average.
  if (recipe.optimizer.average > 0) {
    add_views(source.parameters, path, file, std::string("optimizer/") + optim::Optimizer::kAverage);
  }
  add_views(source.parameters, path, file, "buffers");
  const moetrain::Adapters adapters = build_model(recipe, info.vocabulary, at::kMeta)->adapters();
  if (arguments.adapter) {
    if (adapters.all().empty()) {
      parallel::user_error("--adapter: ", arguments.run, " has no adapters; legal: a run with lora.layers, or an ",
                           "export without --adapter");
    }
    interchange::export_adapters(source, adapters, recipe.train.start, arguments.folder);
  } else {
    std::vector<at::Tensor> merged;
    interchange::merge_adapters(source.parameters, adapters, merged);
    interchange::export_hugging_face(source, arguments.folder);
  }
  std::printf("exported %supdate %lld of %s to %s\n", arguments.adapter ? "the adapters of " : "",
              static_cast<long long>(info.update), arguments.run.c_str(), arguments.folder.c_str());
}

}  // namespace

void add_export_command(CLI::App& app, Invocation& invocation) {
  auto arguments = std::make_shared<ExportArguments>();
  arguments->registry = invocation.registry;
  CLI::App* command = app.add_subcommand("export", "write a run's checkpoint as a Hugging Face folder");
  command->add_option("run", arguments->run, "run folder")->required();
  command->add_option("folder", arguments->folder, "folder to make")->required();
  command->add_option("--dtype", arguments->dtype, "type of what is written; without it as the checkpoint has it")
      ->check(CLI::IsMember({"float32", "float16", "bfloat16"}));
  command->add_option("--shard-bytes", arguments->shard_bytes, "largest safetensors file, but for one tensor [bytes]")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 50));
  add_update_option(*command, arguments->update);
  command->add_flag("--adapter", arguments->adapter,
                    "the run's adapters alone, for the package peft; without it they are merged into the weights");
  add_data_file(*command, arguments->data_file);
  command->callback([arguments] { run_once([&] { export_run(*arguments); }); });
}

}  // namespace launch
