// Straight lines from images to noise, and the model says their direction.
#include <ATen/ATen.h>

#include <utility>

#include "moetrain/objectives/diffusion.h"

namespace moetrain {
namespace {

struct RectifiedFlowConfig {
  double class_dropout = 0.1;
};

template <class Visitor>
void visit(RectifiedFlowConfig& config, Visitor& field) {
  field("class_dropout", config.class_dropout, parallel::half_open(0, 1),
        "share of images that are shown without their class, for guidance");
}

/// Of an image x: z = (1 - t) x + t e, e ~ N(0, 1), t = sigmoid(N(0, 1)), and the mean square of the prediction minus
/// (e - x) (Liu et al. 2022; the times of Esser et al. 2024). Logged as "flow".
class RectifiedFlow : public DiffusionObjective {
 public:
  explicit RectifiedFlow(double class_dropout) : class_dropout_(class_dropout) {}

  ObjectiveOutput forward(Model& model, const Batch& batch, const PassScope& pass,
                          const UpdateScale& scale) const override {
    const TokenSide images = wide_images(batch, model);
    const at::Tensor noise_GC = noise_of(images, pass);
    ModelInputs inputs = batch.inputs;
    inputs.time_S = at::sigmoid(normal_of_sequences(images, pass, "diffusion time"));
    inputs.class_S = with_class_dropout(batch, pass, class_dropout_, model.documents().classes);
    const at::Tensor time_G1 = of_tokens(inputs.time_S, images.sequences);
    inputs.tokens.value_TC = images.value_TC + time_G1 * (noise_GC - images.value_TC);
    ModelOutput output = model.forward(inputs, pass);
    const at::Tensor wanted_TC = model.parts(images.sequences.tokens()).own(noise_GC - images.value_TC);
    const at::Tensor square_T = (output.hidden_TD.to(wanted_TC.scalar_type()) - wanted_TC).square().mean(1);
    LossTerms losses;
    losses.add("flow", square_T.sum() / static_cast<double>(scale.targets));
    return with_squares(std::move(losses), square_T, std::move(output), scale);
  }

 private:
  double class_dropout_;
};

/// Euler steps from time 1 to time 0.
at::Tensor sample_flow(Model& model, const ObjectiveConfig&, const at::Tensor& class_S, const ImageSampling& options) {
  const at::NoGradGuard no_gradient;
  const GuidedModel guided(model, class_S, options);
  at::Tensor value_TC = guided.noise();
  const double step = 1 / static_cast<double>(options.steps);
  for (int64_t i = 0; i < options.steps; ++i) {
    value_TC = value_TC - guided.predicted(value_TC, 1 - static_cast<double>(i) * step, value_TC.size(1)) * step;
  }
  return guided.images(value_TC);
}

}  // namespace

ObjectivePreset rectified_flow() {
  return {.make = [](const ObjectiveInput& input) -> std::unique_ptr<Objective> {
            return std::make_unique<RectifiedFlow>(input.config.own<RectifiedFlowConfig>().class_dropout);
          },
          .costs = {.head_numbers = 0, .smoothing_numbers = 0},
          .sample = sample_flow,
          .keys = parallel::own_keys_of<RectifiedFlowConfig>};
}

}  // namespace moetrain
