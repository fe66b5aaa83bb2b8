#include "moetrain/fused/attention.h"

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/core/ivalue.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "moetrain/fused/head_rows.h"
#include "parallel/base/fault.h"
#include "parallel/device/host_tensor.h"
#include "parallel/kernels/attention/attention.h"

namespace moetrain {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

at::Tensor side_by_side(const at::Tensor& x_SHLd) { return x_SHLd.stride(3) == 1 ? x_SHLd : x_SHLd.contiguous(); }

/// [S, H, L, d], a position's heads side by side, as what they are projected from or to has them.
at::Tensor by_position(int64_t sequences, int64_t heads, int64_t length, int64_t width,
                       const at::TensorOptions& options) {
  return at::empty({sequences, length, heads, width}, options).transpose(1, 2);
}

at::Tensor empty_as(const at::Tensor& x_SHLd) {
  return by_position(x_SHLd.size(0), x_SHLd.size(1), x_SHLd.size(2), x_SHLd.size(3), x_SHLd.options());
}

/// What attends, as the loops take it.
struct Attended {
  at::Tensor query, key, value, sinks, seen;  // the last two perhaps undefined
  bool causal;
  double scale;

  parallel::AttentionShape shape() const {
    return {.sequences = query.size(0),
            .query_heads = query.size(1),
            .key_heads = key.size(1),
            .queries = query.size(2),
            .keys = key.size(2),
            .width = query.size(3),
            .value_width = value.size(3),
            .causal = causal,
            .scale = scale};
  }

  template <class Scalar>
  parallel::AttentionInputs<Scalar> inputs() const {
    parallel::AttentionInputs<Scalar> all{.query = head_rows(parallel::data_of<Scalar>(query), query),
                                          .key = head_rows(parallel::data_of<Scalar>(key), key),
                                          .value = head_rows(parallel::data_of<Scalar>(value), value)};
    if (sinks.defined()) all.sink_H = parallel::data_of<Scalar>(sinks);
    if (seen.defined()) {
      all.seen = {.data = seen.const_data_ptr<bool>(),
                  .by_sequence = seen.stride(0),
                  .by_head = seen.stride(1),
                  .by_query = seen.stride(2),
                  .by_key = seen.stride(3)};
    }
    return all;
  }
};

class AttentionFunction : public torch::autograd::Function<AttentionFunction> {
 public:
  static Variable forward(AutogradContext* context, const Variable& query_SHLd, const Variable& key_SGKd,
                          const Variable& value_SGKv, const std::optional<at::Tensor>& sinks_H,
                          const std::optional<at::Tensor>& seen_SHLK, bool causal, double scale) {
    const Attended all{.query = side_by_side(query_SHLd),
                       .key = side_by_side(key_SGKd),
                       .value = side_by_side(value_SGKv),
                       .sinks = sinks_H ? sinks_H->contiguous() : at::Tensor(),
                       .seen = seen_SHLK.value_or(at::Tensor()),
                       .causal = causal,
                       .scale = scale};
    RECORD_FUNCTION("moetrain::softmax_attention",
                    std::vector<c10::IValue>({query_SHLd, key_SGKd, value_SGKv, causal}));
    const int64_t S = query_SHLd.size(0), H = query_SHLd.size(1), L = query_SHLd.size(2);
    at::Tensor out = by_position(S, H, L, value_SGKv.size(3), query_SHLd.options());
    const auto wide = query_SHLd.options().dtype(at::toOpMathType(query_SHLd.scalar_type()));
    at::Tensor log_sum_SHL = at::empty({S, H, L}, wide);
    parallel::with_loops(query_SHLd.scalar_type(), [&]<class Scalar>() {
      parallel::attention(all.shape(), all.inputs<Scalar>(), head_rows(parallel::mutable_data_of<Scalar>(out), out),
                          log_sum_SHL.mutable_data_ptr<parallel::Wide<Scalar>>());
    });
    context->save_for_backward({all.query, all.key, all.value, all.sinks, all.seen, out, log_sum_SHL});
    context->saved_data["causal"] = causal;
    context->saved_data["scale"] = scale;
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list grad_outputs) {
    parallel::check_internal(!at::GradMode::is_enabled(), "softmax_attention: no second derivative");
    const variable_list saved = context->get_saved_variables();
    const Attended all{.query = saved[0],
                       .key = saved[1],
                       .value = saved[2],
                       .sinks = saved[3],
                       .seen = saved[4],
                       .causal = context->saved_data["causal"].toBool(),
                       .scale = context->saved_data["scale"].toDouble()};
    RECORD_FUNCTION("moetrain::softmax_attention_backward",
                    std::vector<c10::IValue>({all.query, all.key, all.value, all.causal}));
    const at::Tensor &out = saved[5], &log_sum_SHL = saved[6], grad_out = side_by_side(grad_outputs[0]);
    at::Tensor query = empty_as(all.query), key = empty_as(all.key), value = empty_as(all.value);
    at::Tensor sinks_SH = at::zeros({all.query.size(0), all.query.size(1)}, all.query.options());
    parallel::with_loops(query.scalar_type(), [&]<class Scalar>() {
      const parallel::AttentionGradients<Scalar> gradients{
          .query = head_rows(parallel::mutable_data_of<Scalar>(query), query),
          .key = head_rows(parallel::mutable_data_of<Scalar>(key), key),
          .value = head_rows(parallel::mutable_data_of<Scalar>(value), value),
          .sink_SH = parallel::mutable_data_of<Scalar>(sinks_SH)};
      parallel::attention_backward(all.shape(), all.inputs<Scalar>(), head_rows(parallel::data_of<Scalar>(out), out),
                                   log_sum_SHL.const_data_ptr<parallel::Wide<Scalar>>(),
                                   head_rows(parallel::data_of<Scalar>(grad_out), grad_out), gradients);
    });
    const Variable sinks = all.sinks.defined() ? sinks_SH.sum(0) : Variable();
    return {query, key, value, sinks, Variable(), Variable(), Variable()};
  }
};

}  // namespace

bool has_attention(const at::Tensor& query_SHLd, const at::Tensor& key_SGKd, const at::Tensor& value_SGKv) {
  const at::ScalarType type = query_SHLd.scalar_type();
  return parallel::has_loops(query_SHLd) && key_SGKd.scalar_type() == type && value_SGKv.scalar_type() == type;
}

at::Tensor softmax_attention(const at::Tensor& query_SHLd, const at::Tensor& key_SGKd, const at::Tensor& value_SGKv,
                             const SoftmaxAttention& how) {
  const int64_t heads = query_SHLd.size(1);
  parallel::check_internal(
      key_SGKd.size(1) > 0 && heads % key_SGKd.size(1) == 0 && query_SHLd.size(0) == key_SGKd.size(0) &&
          query_SHLd.size(3) == key_SGKd.size(3) && (!how.sinks_H.defined() || how.sinks_H.numel() == heads) &&
          key_SGKd.sizes().slice(0, 3) == value_SGKv.sizes().slice(0, 3),
      "softmax_attention: queries ", query_SHLd.sizes(), ", keys ", key_SGKd.sizes(), ", values ", value_SGKv.sizes());
  std::optional<at::Tensor> seen = how.seen, sinks;
  if (seen) seen = seen->expand({query_SHLd.size(0), heads, query_SHLd.size(2), key_SGKd.size(2)});
  if (how.sinks_H.defined()) sinks = how.sinks_H.to(query_SHLd.scalar_type());
  return AttentionFunction::apply(query_SHLd, key_SGKd, value_SGKv, sinks, seen, how.causal, how.scale);
}

bool has_next_attention(const at::Tensor& query_SH1d, const at::Tensor& key_SGKd, const at::Tensor& value_SGKv) {
  return !at::GradMode::is_enabled() && parallel::has_wide_loops(query_SH1d) && query_SH1d.size(2) == 1 &&
         query_SH1d.stride(3) == 1 && key_SGKd.stride(3) == 1 && value_SGKv.stride(3) == 1 &&
         has_attention(query_SH1d, key_SGKd, value_SGKv);
}

at::Tensor next_attention(const at::Tensor& query_SH1d, const at::Tensor& key_SGKd, const at::Tensor& value_SGKv,
                          const NextPlaces& places) {
  const int64_t S = query_SH1d.size(0), H = query_SH1d.size(1), G = key_SGKd.size(1), d = query_SH1d.size(3);
  const auto [least, most] = std::ranges::minmax_element(places.end_S);
  parallel::check_internal(G > 0 && H % G == 0 && key_SGKd.size(0) == S && std::ssize(places.end_S) == S &&
                               key_SGKd.size(3) == d && value_SGKv.size(1) == G && value_SGKv.size(0) == S && S > 0 &&
                               (!places.sinks_H.defined() || places.sinks_H.numel() == H) && *least > 0 &&
                               *most <= key_SGKd.size(2) && *most <= value_SGKv.size(2),
                           "next_attention: queries ", query_SH1d.sizes(), " of keys ", key_SGKd.sizes(), ", values ",
                           value_SGKv.sizes());
  const at::Tensor sinks =
      places.sinks_H.defined() ? places.sinks_H.to(query_SH1d.scalar_type()).contiguous() : at::Tensor();
  at::Tensor out = by_position(S, H, 1, value_SGKv.size(3), query_SH1d.options());
  AT_DISPATCH_FLOATING_TYPES(query_SH1d.scalar_type(), "next_attention", [&] {
    const parallel::NextAttention<scalar_t> all{.sequences = S,
                                                .query_heads = H,
                                                .key_heads = G,
                                                .width = d,
                                                .value_width = value_SGKv.size(3),
                                                .query = head_rows(query_SH1d.const_data_ptr<scalar_t>(), query_SH1d),
                                                .key = head_rows(key_SGKd.const_data_ptr<scalar_t>(), key_SGKd),
                                                .value = head_rows(value_SGKv.const_data_ptr<scalar_t>(), value_SGKv),
                                                .end_S = places.end_S.data(),
                                                .window = places.window,
                                                .scale = places.scale,
                                                .sink_H = sinks.defined() ? sinks.const_data_ptr<scalar_t>() : nullptr};
    parallel::next_attention(all, head_rows(out.mutable_data_ptr<scalar_t>(), out));
  });
  return out;
}

}  // namespace moetrain
