// A gated recurrent unit over a whole sequence (Cho et al. 2014; Hecto's second expert).
#include <ATen/ATen.h>

#include "moetrain/experts/expert.h"
#include "parallel/dispatch/autograd_compute.h"

namespace moetrain {
namespace {

// N sequences of L places, D width, H hidden units; input [D, 3 H] and recurrent [H, 3 H] for reset, update, candidate

/// r = sigmoid(x W_r + b_r + h U_r), z likewise, n = tanh(x W_n + b_n + r (h U_n + c)), h = (1 - z) n + z h, as PyTorch
/// has it, from h = 0; out = h W_out at every place. A place behind the sequence's end changes nothing.
class GruOverPlaces {
 public:
  explicit GruOverPlaces(int64_t width) : width_(width) {}

  /// row_NX: places of D numbers and a 1, or zeros.
  at::Tensor operator()(const at::Tensor& row_NX, const parallel::ExpertCompute::Weights& weights) const {
    const at::Tensor &input_DG = weights[0], &recurrent_HG = weights[1], &bias_G = weights[2],
                     &candidate_H = weights[3], &out_HD = weights[4];
    const int64_t N = row_NX.size(0), L = row_NX.size(1) / (width_ + 1), H = out_HD.size(0);
    const at::Tensor place_NLE = row_NX.view({N, L, width_ + 1});
    const at::Tensor from_input_NLG = at::matmul(place_NLE.narrow(2, 0, width_), input_DG) + bias_G;
    at::Tensor hidden_NH = at::zeros({N, H}, row_NX.options());
    std::vector<at::Tensor> hidden;
    for (int64_t place = 0; place < L; ++place) {
      const at::Tensor x_NG = from_input_NLG.select(1, place), h_NG = at::mm(hidden_NH, recurrent_HG);
      const at::Tensor gates = at::sigmoid(x_NG.narrow(1, 0, 2 * H) + h_NG.narrow(1, 0, 2 * H));
      const at::Tensor candidate =
          at::tanh(x_NG.narrow(1, 2 * H, H) + gates.narrow(1, 0, H) * (h_NG.narrow(1, 2 * H, H) + candidate_H));
      const at::Tensor next_NH = candidate + gates.narrow(1, H, H) * (hidden_NH - candidate);
      const at::Tensor there_N1 = place_NLE.select(1, place).narrow(1, width_, 1);
      hidden_NH = hidden_NH + there_N1 * (next_NH - hidden_NH);
      hidden.push_back(hidden_NH);
    }
    const at::Tensor out_NLD = at::matmul(at::stack(hidden, 1), out_HD);
    return at::constant_pad_nd(out_NLD, {0, 1}).view_as(row_NX);
  }

 private:
  int64_t width_;
};

std::vector<ExpertWeight> gru_weights(const ExpertShape& shape, const MoeConfig&) {
  const int64_t width = shape.width, hidden = shape.hidden;
  return {{"gru_input", {width, 3 * hidden}, shape.std},
          {"gru_recurrent", {hidden, 3 * hidden}, shape.std},
          {"gru_bias", {3 * hidden}, 0},
          {"gru_candidate_bias", {hidden}, 0},
          {"gru_out", {hidden, width}, shape.output_std}};
}

std::shared_ptr<const parallel::ExpertCompute> gru_compute(const ExpertShape& part, const MoeConfig&) {
  return std::make_shared<parallel::AutogradCompute>(GruOverPlaces(part.width));
}

}  // namespace

ExpertPreset gru_expert() { return {.weights = gru_weights, .compute = gru_compute, .sequences = true}; }

}  // namespace moetrain
