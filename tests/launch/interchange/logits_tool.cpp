// Logits of runs or Hugging Face folders on any layout, as float32 [S, L, V] each (of run.precision=float64 as
// float64), native bytes; of an encoder and a decoder, which read them and, behind the start token, are told them:
// `[mpirun -n N] logits_tool IDS SEQUENCES LENGTH START OUT [START OUT ...] [section.key=value ...]`, IDS int64 [S, L].
#include <ATen/ATen.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "launch/commands/job.h"
#include "launch/models/model_builder.h"
#include "launch/ranks/groups.h"
#include "launch/recipe/fields.h"
#include "launch/recipe/reader.h"
#include "launch/runs/start_point.h"
#include "moetrain/models/model.h"
#include "parallel/base/even_part.h"
#include "parallel/base/fault.h"
#include "parallel/comm/agreement.h"

namespace {

struct Arguments {
  std::string ids;
  int64_t sequences = 0, length = 0;
  std::vector<std::pair<std::string, std::string>> starts;  // and where the logits go
  std::vector<std::string> overrides;
};

Arguments read_arguments(const std::vector<std::string>& words) {
  if (words.size() < 5)
    parallel::user_error("usage: logits_tool IDS SEQUENCES LENGTH START OUT [START OUT ...] [section.key=value ...]");
  Arguments read{.ids = words[0], .sequences = std::stoll(words[1]), .length = std::stoll(words[2])};
  size_t next = 3;
  for (; next + 1 < words.size() && words[next].find('=') == std::string::npos; next += 2) {
    read.starts.emplace_back(words[next], words[next + 1]);
  }
  if (read.starts.empty()) parallel::user_error("logits_tool: no START without a '='");
  read.overrides.assign(words.begin() + static_cast<std::ptrdiff_t>(next), words.end());
  return read;
}

at::Tensor read_ids(const Arguments& arguments) {
  at::Tensor ids_SL = at::empty({arguments.sequences, arguments.length}, at::kLong);
  std::ifstream file(arguments.ids, std::ios::binary);
  file.read(static_cast<char*>(ids_SL.mutable_data_ptr()), ids_SL.numel() * 8);
  if (!file)
    parallel::user_error(arguments.ids, ": holds fewer ids than ", arguments.sequences, " x ", arguments.length);
  return ids_SL;
}

void apply(launch::Recipe& recipe, const std::vector<std::string>& overrides) {
  const std::vector<launch::RecipeField> fields = launch::list_fields(recipe);
  for (const std::string& text : overrides) {
    const size_t equals = text.find('=');
    const auto field = std::ranges::find(fields, text.substr(0, equals), &launch::RecipeField::name);
    if (field == fields.end()) parallel::user_error("no key ", text);
    launch::set_field(*field, text.substr(equals + 1), text);
  }
}

/// Rows of all the group's tokens of this rank's columns, each at its place in the file.
void write_columns(const std::string& path, const at::Tensor& logits_TW, int64_t first_token, int64_t first_column,
                   int64_t vocabulary) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT, 0666);
  const bool is_double = logits_TW.scalar_type() == at::kDouble;
  const at::Tensor wide = logits_TW.to(is_double ? at::kDouble : at::kFloat).contiguous();
  const int64_t size = wide.element_size();
  for (int64_t token = 0; token < wide.size(0); ++token) {
    const int64_t bytes = wide.size(1) * size, at = ((first_token + token) * vocabulary + first_column) * size;
    if (::pwrite(file, wide[token].const_data_ptr(), static_cast<size_t>(bytes), at) != bytes)
      throw std::runtime_error(path);
  }
  ::close(file);
}

/// [S, L], a place later.
at::Tensor behind_start(const at::Tensor& ids_SL, int64_t start) {
  return at::cat({at::full({ids_SL.size(0), 1}, start, at::kLong), ids_SL.narrow(1, 0, ids_SL.size(1) - 1)}, 1);
}

void write_logits(const Arguments& arguments, const std::string& from, const std::string& out,
                  std::shared_ptr<parallel::MpiCommunicator> world) {
  const at::NoGradGuard no_gradient;
  const launch::StartPoint start = launch::open_start(from, launch::builtin_registry());
  launch::Recipe recipe = start.recipe();
  apply(recipe, arguments.overrides);
  const launch::Groups groups = launch::make_groups(std::move(world), at::kCPU, recipe.run.checks, recipe.mesh);
  const int64_t vocabulary = start.vocabulary();
  const auto model = launch::build_model(recipe, vocabulary, at::kCPU, groups.mesh);
  std::vector<launch::CheckpointTensor> tensors = launch::buffer_tensors(*model);
  for (const auto& [name, tensor] : launch::named_parameters(*model)) {
    const auto found = model->placements().find(name);
    tensors.push_back({"parameters/" + name, tensor});
    if (found != model->placements().end()) tensors.back().placement = found->second;
  }
  start.read(tensors);
  const at::Tensor ids_SL = read_ids(arguments);
  const data::IndexRange own = data::split_range(arguments.sequences, groups.shard);
  moetrain::TokenSide side = moetrain::TokenSide::whole(ids_SL.slice(0, own.begin, own.end));
  side.global_tokens = ids_SL.numel();
  side.first_token = own.begin * arguments.length;
  side.global_sequences = arguments.sequences;
  side.first_sequence = own.begin;
  side.longest = arguments.length;
  moetrain::ModelInputs inputs{.tokens = side};
  if (recipe.model_preset().reads == moetrain::Reads::kPairs) {
    inputs.source = side;
    inputs.tokens.ids_T = behind_start(ids_SL, recipe.model.start_token).slice(0, own.begin, own.end).flatten();
  }
  const auto output = model->forward(inputs, {.group = *groups.tokens});
  const at::Tensor hidden_GD = model->parts(side.sequences.tokens()).gather(output.hidden_TD);
  const auto parameters = model->named_parameters();
  const at::Tensor table_WD = parameters[recipe.model.tie_embeddings ? "embedding.weight" : "head.weight"];
  const auto& shape = groups.mesh->shape();
  const int64_t first = parallel::even_part(vocabulary, groups.mesh->place().tensor, shape.tensor).begin;
  write_columns(out, at::mm(hidden_GD, table_WD.t()), side.first_token, first, vocabulary);
}

}  // namespace

int main(int argc, char** argv) {
  return launch::run_job({.command = "logits"}, [&](const auto& world) {
    const Arguments arguments = read_arguments({argv + 1, argv + argc});
    for (const auto& [start, out] : arguments.starts) write_logits(arguments, start, out, world);
    return 0;
  });
}
