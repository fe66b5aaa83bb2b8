#include "launch/planning/workload.h"

#include <algorithm>

#include "launch/recipe/precision.h"
#include "moetrain/moe/expert_blocks.h"
#include "parallel/mesh/expert_map.h"

namespace launch {
namespace {

int64_t rounded_up(int64_t value, int64_t parts) { return (value + parts - 1) / parts; }

TokenCount spread_tokens(int64_t sequences, int64_t length, const parallel::MeshShape& mesh) {
  TokenCount tokens{.world = sequences * length, .length = length, .sequences = sequences};
  tokens.group = rounded_up(sequences, mesh.data) * length;
  tokens.own = rounded_up(tokens.group, mesh.tensor);
  return tokens;
}

}  // namespace

int64_t Workload::expert_layers() const { return std::ranges::count(blocks, true, &PlannedBlock::experts); }

Workload workload_of(const Recipe& recipe, int64_t vocabulary, int64_t ranks) {
  Workload work{.mesh = parallel::mesh_shape(recipe.mesh, ranks)};
  work.element = static_cast<int64_t>(c10::elementSize(dtype_of(recipe.run.precision)));
  work.wide = std::max<int64_t>(4, work.element);
  work.micro_batches = recipe.train.micro_batches;
  work.objective = recipe.objective_preset().costs;
  work.passes = work.objective.passes;
  work.vocabulary = vocabulary;
  work.own_vocabulary = rounded_up(vocabulary, work.mesh.tensor);
  if (recipe.model.kind == "encoder_decoder") {
    const int64_t length = std::max<int64_t>(3, recipe.data.longest / 2);
    const int64_t pairs = std::max<int64_t>(1, recipe.train.batch_tokens / work.micro_batches / (2 * length));
    work.tokens = work.source = spread_tokens(pairs, length, work.mesh);
  } else {
    work.tokens = spread_tokens(recipe.train.global_batch / work.micro_batches, recipe.data.sequence_length, work.mesh);
  }
  work.feed_forward = moetrain::feed_forward_costs(recipe.model.activation);
  const int64_t blocks = moetrain::total_blocks(recipe.model);
  const std::vector<bool> with_experts = moetrain::expert_blocks(recipe.moe.layers, blocks);
  for (int64_t number = 0; number < blocks; ++number) {
    const bool encodes = number < recipe.model.encoder_layers;
    PlannedBlock block{.number = number,
                       .side = encodes ? moetrain::Side::kSource : moetrain::Side::kTokens,
                       .causal = !encodes,
                       .cross = !encodes && recipe.model.encoder_layers > 0,
                       .experts = with_experts[static_cast<size_t>(number)]};
    const std::string stack = encodes ? "encoder." : block.cross ? "decoder." : "blocks.";
    block.parameters = stack + std::to_string(encodes ? number : number - recipe.model.encoder_layers) + ".";
    if (block.experts) {
      block.moe = moetrain::for_layer(recipe.moe, number, blocks);
      block.kinds = moetrain::expert_kinds(block.moe);
      block.expert_width = block.moe.latent > 0 ? block.moe.latent : recipe.model.width;
      const moetrain::ExpertShape part{.width = block.expert_width,
                                       .hidden = block.moe.hidden / work.mesh.expert_tensor,
                                       .activation = recipe.model.activation};
      block.expert = moetrain::expert_costs(recipe.registry->experts.at(block.moe.expert), part, block.moe);
    }
    work.blocks.push_back(std::move(block));
  }
  return work;
}

double most_experts(const Recipe& recipe, const PlannedBlock& block) {
  const parallel::ExpertMap map = parallel::expert_map(recipe.mesh, block.kinds.ffn);
  return static_cast<double>(*std::ranges::max_element(map.counts)) / static_cast<double>(map.experts());
}

double choice_share(const PlannedBlock& block) {
  return static_cast<double>(block.kinds.ffn) / static_cast<double>(block.kinds.total());
}

}  // namespace launch
