// What the routers of a run of images know: prints a line of JSON for each MoE layer, over the held-out images with the
// times and noise of an evaluation. Started by tests/figures/dit_moe, with the run's folder in RUN.
#include <ATen/ATen.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "data/datasets/token_corpus.h"
#include "launch/batches/batches.h"
#include "launch/models/trained_model.h"
#include "launch/runs/run_folder.h"
#include "moetrain/objectives/diffusion.h"
#include "parallel/comm/local_communicator.h"

namespace {

/// Counts of pairs (expert, value), and what one tells of the other.
class Knowledge {
 public:
  void add(int64_t expert, int64_t value) { ++counts_[{expert, value}]; }

  /// [nats], over all choices.
  double mutual_information() const {
    std::map<int64_t, double> expert, value;
    double all = 0;
    for (const auto& [pair, count] : counts_) expert[pair.first] += count, value[pair.second] += count, all += count;
    double sum = 0;
    for (const auto& [pair, count] : counts_) {
      sum += count / all * std::log(count * all / (expert[pair.first] * value[pair.second]));
    }
    return sum;
  }
  double expert_entropy() const {
    std::map<int64_t, double> expert;
    double all = 0, sum = 0;
    for (const auto& [pair, count] : counts_) expert[pair.first] += count, all += count;
    for (const auto& [number, count] : expert) sum -= count / all * std::log(count / all);
    return sum;
  }

 private:
  std::map<std::pair<int64_t, int64_t>, double> counts_;
};

struct Layer {
  Knowledge time, place, of_class, foreground;
};

constexpr int64_t kTimes = 10;  // parts of [0, 1]

}  // namespace

int main() {
  const char* run = std::getenv("RUN");
  if (run == nullptr) return std::fprintf(stderr, "RUN names no run folder\n"), 1;
  try {
    const at::NoGradGuard no_gradient;
    const launch::TrainedModel trained = launch::load_whole_model(run, "", launch::builtin_registry());
    const auto corpus = data::TokenCorpus::open(trained.recipe.data.file, data::Verify::kIndexOnly);
    const auto batches = launch::make_held_out_batches(corpus, trained.recipe, {.index = 0, .count = 1});
    const auto objective = trained.recipe.objective_preset().make({trained.recipe.objective, nullptr});
    const int64_t patches = trained.recipe.model.own<moetrain::DiffusionConfig>().grid().patches();
    parallel::LocalCommunicator alone;
    std::map<int64_t, Layer> layers;
    for (int64_t i = 0; i < batches->count(); ++i) {
      const launch::MicroBatch batch = batches->read(i);
      const moetrain::PassScope pass{.group = alone};
      const auto output = objective->score(*trained.model, batch.batch, pass);
      const moetrain::TokenSide images = moetrain::wide_images(batch.batch, *trained.model);
      const at::Tensor time_S = at::sigmoid(moetrain::normal_of_sequences(images, pass, "diffusion time"));
      // A patch of the foreground is brighter than the noise around it.
      const at::Tensor lit_T = (images.value_TC.amax(1) > -0.4).to(at::kLong);
      for (const moetrain::LayerRouting& routing : output.routing) {
        Layer& layer = layers[routing.site.block];
        const at::Tensor chosen_TK = routing.decision.chosen_TK.contiguous();
        for (int64_t t = 0; t < chosen_TK.size(0); ++t) {
          const auto time = static_cast<int64_t>(time_S[t / patches].item<double>() * kTimes);
          const int64_t of_class = batch.groups_T[t].item<int64_t>(), lit = lit_T[t].item<int64_t>();
          for (int64_t k = 0; k < chosen_TK.size(1); ++k) {
            const int64_t expert = chosen_TK[t][k].item<int64_t>();
            layer.time.add(expert, std::min(time, kTimes - 1));
            layer.place.add(expert, t % patches);
            layer.of_class.add(expert, of_class);
            layer.foreground.add(expert, lit);
          }
        }
      }
    }
    for (const auto& [number, layer] : layers) {
      std::printf(
          "{\"layer\": %lld, \"load_entropy\": %.4f, \"time\": %.4f, \"place\": %.4f, \"class\": %.4f, "
          "\"foreground\": %.4f}\n",
          static_cast<long long>(number), layer.time.expert_entropy(), layer.time.mutual_information(),
          layer.place.mutual_information(), layer.of_class.mutual_information(), layer.foreground.mutual_information());
    }
  } catch (const std::exception& error) {
    return std::fprintf(stderr, "%s\n", error.what()), 1;
  }
  return 0;
}
