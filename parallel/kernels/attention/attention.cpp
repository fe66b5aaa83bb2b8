#include "parallel/kernels/attention/attention.h"

#include <cmath>
#include <limits>

#include "parallel/kernels/attention/attention_pieces.h"
#include "parallel/kernels/curves.h"
#include "parallel/kernels/processor.h"

namespace parallel {
namespace {

template <class Scalar>
struct ForwardTask {
  const AttentionShape& shape;
  const AttentionInputs<Scalar>& inputs;
  const HeadRows<Scalar>& out;
  Wide<Scalar>* log_sum_SHL;
  int64_t begin, end;  // of the sequences' heads, s * H + h
};

struct ForwardLoop {
  template <int kBytes, class Scalar>
  [[gnu::always_inline]] static void run(const ForwardTask<Scalar>* task) {
    const AttentionShape& shape = task->shape;
    const PaddedShape padded(shape);
    const int64_t keys_size = shape.width * padded.keys, values_size = padded.keys * padded.value_width;
    const int64_t queries_size = kQueries * padded.width, logits_size = kQueries * padded.keys;
    const int64_t out_size = kQueries * padded.value_width;
    using Number = Wide<Scalar>;
    using Space = Workspace<Number>;
    Space space(Space::size({keys_size, values_size, queries_size, logits_size, out_size}));
    Number *key_dK = space.take(keys_size), *value_Kd = space.take(values_size), *query_Ld = space.take(queries_size),
           *logits_LK = space.take(logits_size), *out_Ld = space.take(out_size);
    for (int64_t head = task->begin; head < task->end; ++head) {
      const int64_t s = head / shape.query_heads, h = head % shape.query_heads;
      const int64_t g = h / (shape.query_heads / shape.key_heads);
      pack_transposed(matrix_of(task->inputs.key, s, g, 0, shape.keys, shape.width), padded.keys, key_dK);
      pack(matrix_of(task->inputs.value, s, g, 0, shape.keys, shape.value_width), padded.keys, padded.value_width,
           value_Kd);
      for (int64_t first = 0; first < shape.queries; first += kQueries) {
        const int64_t count = std::min(kQueries, shape.queries - first), keys = keys_of_block(shape, padded, first);
        const int64_t rows = up_to(count, kRowsOfTile);
        pack(matrix_of(task->inputs.query, s, h, first, count, shape.width), rows, padded.width, query_Ld);
        multiply_tiles<kBytes>(TileProduct<Number>{
            {rows, keys, shape.width}, {query_Ld, padded.width, 1}, {key_dK, padded.keys}, {logits_LK, keys}});
        for (int64_t l = 0; l < count; ++l) {
          task->log_sum_SHL[head * shape.queries + first + l] =
              softmax(*task, s, h, first + l, keys, logits_LK + l * keys);
        }
        multiply_tiles<kBytes>(TileProduct<Number>{{rows, padded.value_width, std::min(keys, shape.keys)},
                                                   {logits_LK, keys, 1},
                                                   {value_Kd, padded.value_width},
                                                   {out_Ld, padded.value_width}});
        for (int64_t l = 0; l < count; ++l) {
          Scalar* to = task->out.row(s, h, first + l);
          for (int64_t d = 0; d < shape.value_width; ++d) to[d] = out_Ld[l * padded.value_width + d];
        }
      }
    }
  }

 private:
  /// Logits become probabilities. Returns the logarithm of the exponentials' sum.
  template <class Scalar>
  [[gnu::always_inline]] static Wide<Scalar> softmax(const ForwardTask<Scalar>& task, int64_t s, int64_t h,
                                                     int64_t query, int64_t columns, Wide<Scalar>* x) {
    using Number = Wide<Scalar>;
    constexpr Number kNever = -std::numeric_limits<Number>::infinity();
    const auto scale = static_cast<Number>(task.shape.scale);
    const Number sink = task.inputs.sink_H != nullptr ? task.inputs.sink_H[h] : kNever;
    hide(task.shape, task.inputs.seen, s, h, query, columns, x);
    Number most = kNever, sum = 0, bad = 0;
#pragma omp simd reduction(max : most) reduction(+ : bad)
    for (int64_t k = 0; k < columns; ++k) {
      most = x[k] > most ? x[k] : most;
      bad += x[k] == x[k] ? Number(0) : Number(1);
    }
    if (most == kNever) {  // it sees no key, or none whose logit is a number
      const Number all = bad == Number(0) ? Number(0) : std::numeric_limits<Number>::quiet_NaN();
      for (int64_t k = 0; k < columns; ++k) x[k] = all;
      return sink + all;
    }
    const Number largest = std::max(scale * most, sink);
#pragma omp simd reduction(+ : sum)
    for (int64_t k = 0; k < columns; ++k) {
      const Number e = exp_of(scale * x[k] - largest);
      x[k] = x[k] == kNever ? Number(0) : e;
      sum += x[k];
    }
    if (sink != kNever) sum += exp_of(sink - largest);
    const Number factor = Number(1) / sum;
#pragma omp simd
    for (int64_t k = 0; k < columns; ++k) x[k] *= factor;
    return largest + std::log(sum);
  }
};

}  // namespace

template <class Scalar>
void attention(const AttentionShape& shape, const AttentionInputs<Scalar>& inputs, const HeadRows<Scalar>& out,
               Wide<Scalar>* log_sum_SHL) {
  over_threads(shape.sequences * shape.query_heads, rows_of_thread(shape.queries * shape.keys),
               [&](int64_t begin, int64_t end) {
                 const ForwardTask<Scalar> task{shape, inputs, out, log_sum_SHL, begin, end};
                 run_of_width<ForwardLoop>(&task);
               });
}

template void attention(const AttentionShape&, const AttentionInputs<float>&, const HeadRows<float>&, float*);
template void attention(const AttentionShape&, const AttentionInputs<double>&, const HeadRows<double>&, double*);
template void attention(const AttentionShape&, const AttentionInputs<Bfloat16>&, const HeadRows<Bfloat16>&, float*);

}  // namespace parallel
