// Denoising in many small steps, whose variances the model learns too.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>
#include <vector>

#include "moetrain/objectives/diffusion.h"

namespace moetrain {
namespace {

struct DdpmConfig {
  double class_dropout = 0.1;
  int64_t steps = 1000;
};

template <class Visitor>
void visit(DdpmConfig& config, Visitor& field) {
  field("class_dropout", config.class_dropout, parallel::half_open(0, 1),
        "share of images that are shown without their class, for guidance");
  field("steps", config.steps, parallel::between(2, 100000), "from image to noise");
}

/// What is left of the image's variance after each step, of noise that grows linearly (Ho et al. 2020: 1e-4 to 0.02
/// over 1,000 steps; of other numbers so that their sums are alike).
std::vector<double> kept_after(int64_t steps) {
  const double scale = 1000.0 / static_cast<double>(steps);
  std::vector<double> kept;
  double product = 1;
  for (int64_t t = 0; t < steps; ++t) {
    const double share = static_cast<double>(t) / static_cast<double>(steps - 1);
    product *= 1 - std::min(0.999, scale * (1e-4 + share * (0.02 - 1e-4)));
    kept.push_back(product);
  }
  return kept;
}

/// The numbers of each step, float64 [steps], from what is kept after it: x_t = sqrt(kept) x + sqrt(1 - kept) e.
struct Steps {
  explicit Steps(const std::vector<double>& kept_after_each) {
    std::vector<double> before(kept_after_each.size(), 1.0);
    std::copy(kept_after_each.begin(), kept_after_each.end() - 1, before.begin() + 1);
    kept = at::tensor(kept_after_each, at::kDouble);
    const at::Tensor earlier = at::tensor(before, at::kDouble), beta = 1 - kept / earlier;
    image_share = beta * earlier.sqrt() / (1 - kept);
    noised_share = (1 - earlier) * (1 - beta).sqrt() / (1 - kept);
    log_largest = beta.log();
    const at::Tensor smallest = beta * (1 - earlier) / (1 - kept);
    // That of the first step is 0; the second's stands for it (Nichol and Dhariwal 2021).
    log_smallest = at::cat({smallest.narrow(0, std::min<int64_t>(1, smallest.size(0) - 1), 1), smallest.slice(0, 1)})
                       .clamp_min(1e-20)
                       .log();
  }

  at::Tensor kept;
  at::Tensor image_share, noised_share;  // of the mean before a step, in the image and in x_t
  at::Tensor log_largest, log_smallest;  // variances before a step between which the learned one lies
};

/// Of each token, its image's step's: [G, 1], like `like`.
class AtSteps {
 public:
  AtSteps(const Steps& steps, const at::Tensor& step_G, const at::TensorOptions& like)
      : steps_(steps), step_G_(step_G), like_(like) {}
  at::Tensor operator()(const at::Tensor Steps::*numbers) const {
    return (steps_.*numbers).index_select(0, step_G_).unsqueeze(1).to(like_);
  }

 private:
  const Steps& steps_;
  at::Tensor step_G_;
  at::TensorOptions like_;
};

/// What the model says of x_{t-1}, given x_t.
struct Before {
  at::Tensor mean_TC, log_variance_TC;
};

/// noise_TC: as predicted; lean_TC: in about [-1, 1], where between the two variances it lies.
Before before(const AtSteps& at, const at::Tensor& noised_TC, const at::Tensor& noise_TC, const at::Tensor& lean_TC,
              bool clipped) {
  const at::Tensor kept_T1 = at(&Steps::kept);
  at::Tensor image_TC = (noised_TC - (1 - kept_T1).sqrt() * noise_TC) / kept_T1.sqrt();
  if (clipped) image_TC = image_TC.clamp(-1, 1);
  const at::Tensor share_TC = (lean_TC + 1) * 0.5;
  return {at(&Steps::image_share) * image_TC + at(&Steps::noised_share) * noised_TC,
          share_TC * at(&Steps::log_largest) + (1 - share_TC) * at(&Steps::log_smallest)};
}

at::Tensor below(const at::Tensor& deviation) { return 0.5 * (1 + at::erf(deviation * (1 / std::numbers::sqrt2))); }

/// -log of the probability of a pixel's 256th of [-1, 1]; what lies beyond the ends belongs to the outer ones.
at::Tensor pixel_nll(const at::Tensor& image_TC, const Before& said) {
  constexpr double kHalf = 1.0 / 255, kEnd = 0.999, kLeast = 1e-12;
  const at::Tensor apart_TC = image_TC - said.mean_TC, narrow_TC = at::exp(said.log_variance_TC * -0.5);
  const at::Tensor above_TC = below(narrow_TC * (apart_TC + kHalf)), under_TC = below(narrow_TC * (apart_TC - kHalf));
  const at::Tensor inner_TC = at::where(image_TC > kEnd, 1 - under_TC, above_TC - under_TC);
  return -at::where(image_TC < -kEnd, above_TC, inner_TC).clamp_min(kLeast).log();
}

/// x_t = sqrt(kept) x + sqrt(1 - kept) e of a uniformly drawn step; the mean square of the predicted noise minus e,
/// and, of the variance alone, the bound on the likelihood of that step in bits (Nichol and Dhariwal 2021, L_hybrid
/// with its weight of steps / 1000). Logged as "noise" and "variance".
class Ddpm : public DiffusionObjective {
 public:
  explicit Ddpm(const DdpmConfig& config) : config_(config), steps_(kept_after(config.steps)) {}

  ObjectiveOutput forward(Model& model, const Batch& batch, const PassScope& pass,
                          const UpdateScale& scale) const override {
    const TokenSide images = wide_images(batch, model);
    const at::Tensor noise_GC = noise_of(images, pass);
    const double steps = static_cast<double>(config_.steps);
    const at::Tensor step_S =
        (uniform_of_sequences(images, pass, "diffusion step") * steps).floor().clamp_max(steps - 1).to(at::kLong);
    const at::Tensor step_G = step_S.to(at::kCPU).index_select(0, images.sequences.sequence_T());
    const AtSteps of_group(steps_, step_G, images.value_TC.options());
    ModelInputs inputs = batch.inputs;
    inputs.time_S = step_S.to(images.value_TC.options()) / steps;
    inputs.class_S = with_class_dropout(batch, pass, config_.class_dropout, model.documents().classes);
    const at::Tensor kept_G1 = of_group(&Steps::kept);
    inputs.tokens.value_TC = kept_G1.sqrt() * images.value_TC + (1 - kept_G1).sqrt() * noise_GC;
    ModelOutput output = model.forward(inputs, pass);
    const parallel::TokenParts parts = model.parts(images.sequences.tokens());
    const std::vector<at::Tensor> said = output.hidden_TD.to(noise_GC.scalar_type()).chunk(2, 1);
    const at::Tensor square_T = (said[0] - parts.own(noise_GC)).square().mean(1);
    const at::Tensor bound_T =
        bound(parts.own(images.value_TC), parts.own(inputs.tokens.value_TC), said, parts.own(step_G));
    const auto targets = static_cast<double>(scale.targets);
    LossTerms losses;
    losses.add("noise", square_T.sum() / targets);
    losses.add("variance", bound_T.sum() * (steps / 1000 / targets));
    return with_squares(std::move(losses), square_T, std::move(output), scale);
  }

 private:
  /// [bits per number] of each token; the mean is taken as it is, so that only the variance learns from it.
  at::Tensor bound(const at::Tensor& image_TC, const at::Tensor& noised_TC, const std::vector<at::Tensor>& said,
                   const at::Tensor& step_T) const {
    const AtSteps at(steps_, step_T, image_TC.options());
    const Before model = before(at, noised_TC, said[0].detach(), said[1], /*clipped=*/false);
    const at::Tensor mean_TC = at(&Steps::image_share) * image_TC + at(&Steps::noised_share) * noised_TC;
    const at::Tensor log_T1 = at(&Steps::log_smallest);
    const at::Tensor divergence_TC =
        0.5 * (model.log_variance_TC - log_T1 - 1 + at::exp(log_T1 - model.log_variance_TC) +
               (mean_TC - model.mean_TC).square() * at::exp(-model.log_variance_TC));
    const at::Tensor first_T1 = (step_T == 0).unsqueeze(1).to(image_TC.device());
    return at::where(first_T1, pixel_nll(image_TC, model), divergence_TC).mean(1) * (1 / std::numbers::ln2);
  }

  DdpmConfig config_;
  Steps steps_;
};

/// Ancestral sampling over `steps` of the process's, evenly spread, with the variances of these (Nichol and Dhariwal
/// 2021). Guidance acts on the noise, and images are clipped to [-1, 1] on the way.
at::Tensor sample_ddpm(Model& model, const ObjectiveConfig& objective, const at::Tensor& class_S,
                       const ImageSampling& options) {
  const at::NoGradGuard no_gradient;
  const int64_t all = objective.own<DdpmConfig>().steps, taken = std::min(options.steps, all);
  const std::vector<double> kept = kept_after(all);
  std::vector<int64_t> step;
  std::vector<double> kept_taken;
  for (int64_t i = 0; i < taken; ++i) {
    step.push_back(taken == 1 ? all - 1 : (i * (all - 1) + (taken - 1) / 2) / (taken - 1));
    kept_taken.push_back(kept[static_cast<size_t>(step.back())]);
  }
  const Steps steps(kept_taken);
  const GuidedModel guided(model, class_S, options);
  at::Tensor value_TC = guided.noise();
  for (int64_t i = taken - 1; i >= 0; --i) {
    const double time = static_cast<double>(step[static_cast<size_t>(i)]) / static_cast<double>(all);
    const std::vector<at::Tensor> said = guided.predicted(value_TC, time, value_TC.size(1)).chunk(2, 1);
    const AtSteps at(steps, at::full({value_TC.size(0)}, i, at::kLong), value_TC.options());
    const Before earlier = before(at, value_TC, said[0], said[1], /*clipped=*/true);
    value_TC = earlier.mean_TC;
    if (i > 0) value_TC = value_TC + at::exp(earlier.log_variance_TC * 0.5) * guided.noise(i);
  }
  return guided.images(value_TC);
}

}  // namespace

ObjectivePreset ddpm() {
  return {.make = [](const ObjectiveInput& input) -> std::unique_ptr<Objective> {
            return std::make_unique<Ddpm>(input.config.own<DdpmConfig>());
          },
          .costs = {.losses = 2, .head_numbers = 0, .smoothing_numbers = 0},
          .sample = sample_ddpm,
          .variances = true,
          .keys = parallel::own_keys_of<DdpmConfig>};
}

}  // namespace moetrain
