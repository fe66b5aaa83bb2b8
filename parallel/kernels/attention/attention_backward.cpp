#include <limits>

#include "parallel/kernels/attention/attention_pieces.h"
#include "parallel/kernels/curves.h"
#include "parallel/kernels/processor.h"

namespace parallel {
namespace {

template <class Scalar>
struct BackwardTask {
  const AttentionShape& shape;
  const AttentionInputs<Scalar>& inputs;
  const HeadRows<const Scalar>& out;
  const Wide<Scalar>* log_sum_SHL;
  const HeadRows<const Scalar>& grad_out;
  const AttentionGradients<Scalar>& gradients;
  int64_t begin, end;  // of the sequences' key heads, s * G + g
};

struct AttentionBackwardLoop {
  template <int kBytes, class Scalar>
  [[gnu::always_inline]] static void run(const BackwardTask<Scalar>* task) {
    const AttentionShape& shape = task->shape;
    const PaddedShape padded(shape);
    const int64_t D = padded.width, V = padded.value_width, K = padded.keys;
    using Number = Wide<Scalar>;
    using Space = Workspace<Number>;
    Space space(Space::size({K * D, shape.width * K, shape.value_width * K, K * D, K * V, kQueries * D, kQueries * V,
                             kQueries * D, kQueries * K, kQueries * K}));
    Number *key_Kd = space.take(K * D), *key_dK = space.take(shape.width * K),
           *value_dK = space.take(shape.value_width * K), *grad_key_Kd = space.take(K * D),
           *grad_value_Kd = space.take(K * V), *query_Ld = space.take(kQueries * D),
           *grad_out_Ld = space.take(kQueries * V), *grad_query_Ld = space.take(kQueries * D),
           *p_LK = space.take(kQueries * K), *grad_LK = space.take(kQueries * K);
    const int64_t sharing = shape.query_heads / shape.key_heads;
    for (int64_t head = task->begin; head < task->end; ++head) {
      const int64_t s = head / shape.key_heads, g = head % shape.key_heads;
      const Matrix<Scalar> key = matrix_of(task->inputs.key, s, g, 0, shape.keys, shape.width);
      pack(key, K, D, key_Kd);
      pack_transposed(key, K, key_dK);
      pack_transposed(matrix_of(task->inputs.value, s, g, 0, shape.keys, shape.value_width), K, value_dK);
      for (int64_t i = 0; i < K * D; ++i) grad_key_Kd[i] = 0;
      for (int64_t i = 0; i < K * V; ++i) grad_value_Kd[i] = 0;
      for (int64_t h = g * sharing; h < (g + 1) * sharing; ++h) {
        Number grad_sink = 0;
        for (int64_t first = 0; first < shape.queries; first += kQueries) {
          const int64_t count = std::min(kQueries, shape.queries - first), keys = keys_of_block(shape, padded, first);
          const int64_t rows = up_to(count, kRowsOfTile);
          pack(matrix_of(task->inputs.query, s, h, first, count, shape.width), rows, D, query_Ld);
          pack(matrix_of(task->grad_out, s, h, first, count, shape.value_width), rows, V, grad_out_Ld);
          multiply_tiles<kBytes>(
              TileProduct<Number>{{rows, keys, shape.width}, {query_Ld, D, 1}, {key_dK, K}, {p_LK, keys}});
          multiply_tiles<kBytes>(TileProduct<Number>{
              {rows, keys, shape.value_width}, {grad_out_Ld, V, 1}, {value_dK, K}, {grad_LK, keys}});
          for (int64_t l = 0; l < count; ++l) {
            grad_sink += logits_backward(*task, s, h, first + l, keys, p_LK + l * keys, grad_LK + l * keys);
          }
          multiply_tiles<kBytes>(TileProduct<Number>{
              {keys, V, count}, {p_LK, 1, keys}, {grad_out_Ld, V}, {grad_value_Kd, V, /*add=*/true}});
          multiply_tiles<kBytes>(
              TileProduct<Number>{{keys, D, count}, {grad_LK, 1, keys}, {query_Ld, D}, {grad_key_Kd, D, /*add=*/true}});
          multiply_tiles<kBytes>(TileProduct<Number>{
              {rows, D, std::min(keys, shape.keys)}, {grad_LK, keys, 1}, {key_Kd, D}, {grad_query_Ld, D}});
          unpack(grad_query_Ld, D, task->gradients.query, s, h, first, count, shape.width);
        }
        if (task->inputs.sink_H != nullptr) task->gradients.sink_SH[s * shape.query_heads + h] = grad_sink;
      }
      unpack(grad_key_Kd, D, task->gradients.key, s, g, 0, shape.keys, shape.width);
      unpack(grad_value_Kd, V, task->gradients.value, s, g, 0, shape.keys, shape.value_width);
    }
  }

 private:
  /// x: logits, become probabilities p; grad: of p, becomes scale p (grad - sum of grad p), that of the products.
  /// Returns the sink's.
  template <class Scalar>
  [[gnu::always_inline]] static Wide<Scalar> logits_backward(const BackwardTask<Scalar>& task, int64_t s, int64_t h,
                                                             int64_t query, int64_t columns, Wide<Scalar>* x,
                                                             Wide<Scalar>* grad) {
    using Number = Wide<Scalar>;
    const AttentionShape& shape = task.shape;
    constexpr Number kNever = -std::numeric_limits<Number>::infinity();
    const Number log_sum = task.log_sum_SHL[(s * shape.query_heads + h) * shape.queries + query];
    const Number scale = static_cast<Number>(shape.scale);
    hide(shape, task.inputs.seen, s, h, query, columns, x);
    const Scalar *out = task.out.row(s, h, query), *above = task.grad_out.row(s, h, query);
    Number dot = 0;  // the sum of grad p
#pragma omp simd reduction(+ : dot)
    for (int64_t d = 0; d < shape.value_width; ++d) dot += Number(out[d]) * Number(above[d]);
#pragma omp simd
    for (int64_t k = 0; k < columns; ++k) {
      const Number e = exp_of(scale * x[k] - log_sum);
      const Number p = x[k] == kNever ? Number(0) : e;
      x[k] = p;
      grad[k] = scale * p * (grad[k] - dot);
    }
    return task.inputs.sink_H != nullptr ? -exp_of(Number(task.inputs.sink_H[h]) - log_sum) * dot : Number(0);
  }

  template <class Scalar>
  [[gnu::always_inline]] static void unpack(const Wide<Scalar>* from, int64_t by_row, const HeadRows<Scalar>& to,
                                            int64_t s, int64_t h, int64_t first, int64_t count, int64_t width) {
    for (int64_t r = 0; r < count; ++r) {
      Scalar* row = to.row(s, h, first + r);
      for (int64_t d = 0; d < width; ++d) row[d] = from[r * by_row + d];
    }
  }
};

}  // namespace

template <class Scalar>
void attention_backward(const AttentionShape& shape, const AttentionInputs<Scalar>& inputs,
                        const HeadRows<const Scalar>& out, const Wide<Scalar>* log_sum_SHL,
                        const HeadRows<const Scalar>& grad_out, const AttentionGradients<Scalar>& gradients) {
  over_threads(shape.sequences * shape.key_heads, rows_of_thread(shape.queries * shape.keys),
               [&](int64_t begin, int64_t end) {
                 const BackwardTask<Scalar> task{shape, inputs, out, log_sum_SHL, grad_out, gradients, begin, end};
                 run_of_width<AttentionBackwardLoop>(&task);
               });
}

template void attention_backward(const AttentionShape&, const AttentionInputs<float>&, const HeadRows<const float>&,
                                 const float*, const HeadRows<const float>&, const AttentionGradients<float>&);
template void attention_backward(const AttentionShape&, const AttentionInputs<double>&, const HeadRows<const double>&,
                                 const double*, const HeadRows<const double>&, const AttentionGradients<double>&);
template void attention_backward(const AttentionShape&, const AttentionInputs<Bfloat16>&,
                                 const HeadRows<const Bfloat16>&, const float*, const HeadRows<const Bfloat16>&,
                                 const AttentionGradients<Bfloat16>&);

}  // namespace parallel
