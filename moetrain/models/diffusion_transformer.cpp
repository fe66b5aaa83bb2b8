#include "moetrain/models/diffusion_transformer.h"

#include <ATen/ATen.h>

#include <cmath>

#include "moetrain/models/models.h"
#include "parallel/base/fault.h"

namespace moetrain {
namespace {

constexpr int64_t kTimeNumbers = 256;
constexpr double kTimeSteps = 1000, kSlowest = 10000;

/// cos and sin of place * kSlowest^(-i / (numbers / 2)): [N] -> [N, numbers]
at::Tensor waves(const at::Tensor& place_N, int64_t numbers) {
  const int64_t half = numbers / 2;
  const at::Tensor frequency =
      at::exp(at::arange(half, place_N.options()) * (-std::log(kSlowest) / static_cast<double>(half)));
  const at::Tensor angle = place_N.unsqueeze(1) * frequency;
  return at::cat({angle.cos(), angle.sin()}, 1);
}

/// Half of the width tells the row, half the column.
at::Tensor positions(const DiffusionConfig& config, int64_t width, const at::TensorOptions& options) {
  const int64_t rows = config.height / config.patch, columns = config.image_width / config.patch;
  const at::Tensor place = at::arange(rows * columns, at::TensorOptions(at::kDouble));
  const at::Tensor row = place.div(static_cast<double>(columns), "floor"),
                   column = place - row * static_cast<double>(columns);
  return at::cat({waves(row, width / 2), waves(column, width / 2)}, 1).to(options);
}

void check_diffusion(const ModelConfig& config) {
  check_without_encoder(config);
  const auto& own = config.own<DiffusionConfig>();
  const auto divides = [&](const char* key, int64_t side) {
    if (side % own.patch == 0) return;
    parallel::user_error("model.diffusion_transformer.patch (", own.patch, ") must divide ", key, " (", side,
                         "); legal: a divisor of it such as 1");
  };
  divides("model.diffusion_transformer.height", own.height);
  divides("model.diffusion_transformer.image_width", own.image_width);
  if (config.width % 4 != 0) {
    parallel::user_error("model.width (", config.width,
                         ") must be a multiple of 4, for rows and columns have a sine and a ",
                         "cosine of their place; nearest legal: ", (config.width / 4 + 1) * 4);
  }
}

}  // namespace

DiffusionTransformer::DiffusionTransformer(const ModelConfig& config, const MoeConfig& moe, int64_t,
                                           const ParameterSource& source, const MoeTables& tables)
    : Model(config, moe, source) {
  const int64_t width = config.width, numbers = diffusion().grid().numbers();
  const auto linear = [&](const std::string& name, int64_t in, int64_t out, double std) {
    return register_module(name, std::make_shared<Linear>(source.at(name), in, out, std));
  };
  patches_ = linear("patches", numbers, width, 1 / std::sqrt(static_cast<double>(numbers)));
  time_first_ = linear("time_first", kTimeNumbers, width, config.init_std);
  time_second_ = linear("time_second", width, width, config.init_std);
  class_KD_ =
      register_parameter("classes", source.normal("classes", {diffusion().classes + 1, width}, config.init_std));
  source.call_vectors("classes");
  position_ND_ = positions(diffusion(), width, source.options());
  const StackShape blocks = stacks(config).front();
  blocks_ =
      register_module(blocks.name, std::make_shared<BlockStack>(source.at(blocks.name), config, moe, blocks, tables));
  final_norm_ = add_norm(source, "final_norm");
  final_modulation_ = register_module(
      "final_modulation", std::make_shared<Modulation>(source.at("final_modulation"), width, /*gated=*/false));
  output_ = linear("output", width, diffusion().predicted(), 0);
}

at::Tensor DiffusionTransformer::condition(const at::Tensor& time_S, const at::Tensor& class_S) const {
  const at::Tensor time_SW = waves(time_S.to(at::kDouble) * kTimeSteps, kTimeNumbers).to(class_KD_.options());
  return time_second_->forward(at::silu(time_first_->forward(time_SW))) + at::embedding(class_KD_, class_S);
}

ModelOutput DiffusionTransformer::forward(const ModelInputs& inputs, const PassScope& pass) {
  ModelOutput output;
  const TokenSide& tokens = inputs.tokens;
  const BatchScope scope = scope_of(tokens, pass);
  const at::Tensor own_TC = scope.parts.own(tokens.value_TC).to(position_ND_.scalar_type());
  const at::Tensor place_T =
      scope.parts.own(at::arange(tokens.sequences.tokens(), at::kLong)).remainder(diffusion().grid().patches());
  const at::Tensor x_TD = patches_->forward(own_TC) + position_ND_.index_select(0, place_T.to(position_ND_.device()));
  const at::Tensor condition_SD = condition(inputs.time_S, inputs.class_S);
  const BlockStack::Context context{.scope = scope, .recompute = pass.recompute, .condition_SD = condition_SD};
  const at::Tensor hidden_TD = final_norm_->forward(blocks_->forward(x_TD, context, output));
  output.hidden_TD = output_->forward(final_modulation_->forward(condition_SD, scope).of(hidden_TD));
  return output;
}

ModelPreset diffusion_transformer() {
  return {.make = make_model<DiffusionTransformer>,
          .reads = Reads::kImages,
          .stacks = DiffusionTransformer::stacks,
          .ends =
              [](const ModelConfig& config) {
                return ModelEnds{
                    .embeds = false, .predicted = config.own<DiffusionConfig>().predicted(), .gathers = false};
              },
          .documents = DiffusionTransformer::documents_of,
          .keys = parallel::own_keys_of<DiffusionConfig>,
          .check = check_diffusion};
}

}  // namespace moetrain
