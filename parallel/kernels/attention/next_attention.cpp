#include <cmath>
#include <limits>
#include <vector>

#include "parallel/kernels/attention/attention.h"
#include "parallel/kernels/curves.h"
#include "parallel/kernels/processor.h"

namespace parallel {
namespace {

/// Keys that are at hand together.
constexpr int64_t kKeys = 4;

template <class Scalar>
struct NextTask {
  const NextAttention<Scalar>& all;
  const HeadRows<Scalar>& out;
  Scalar* logits_K;    // room for one query's
  int64_t begin, end;  // of sequences and key heads, S x G
};

struct NextLoop {
  template <class Scalar>
  [[gnu::always_inline]] static void run(const NextTask<Scalar>* task) {
    const NextAttention<Scalar>& all = task->all;
    const int64_t shared = all.query_heads / all.key_heads;
    for (int64_t head = task->begin; head < task->end; ++head) {
      const int64_t s = head / all.key_heads, g = head % all.key_heads, last = all.end_S[s];
      const int64_t first = all.window > 0 && last > all.window ? last - all.window : 0, keys = last - first;
      for (int64_t q = 0; q < shared; ++q) {
        Scalar* logits = task->logits_K;
        const int64_t h = g * shared + q;
        products(all, all.query.row(s, h, 0), all.key.row(s, g, first), keys, logits);
        shares(static_cast<Scalar>(all.scale), all.sink_H != nullptr ? all.sink_H + h : nullptr, keys, logits);
        mix(all, all.value.row(s, g, first), keys, logits, task->out.row(s, h, 0));
      }
    }
  }

 private:
  template <class Scalar>
  [[gnu::always_inline]] static void products(const NextAttention<Scalar>& all, const Scalar* query, const Scalar* key,
                                              int64_t keys, Scalar* logits) {
    const int64_t width = all.width, by = all.key.by_position;
    int64_t k = 0;
    for (; k + kKeys <= keys; k += kKeys, key += kKeys * by) {
      Scalar a = 0, b = 0, c = 0, d = 0;
#pragma omp simd reduction(+ : a, b, c, d)
      for (int64_t i = 0; i < width; ++i) {
        a += query[i] * key[i];
        b += query[i] * key[by + i];
        c += query[i] * key[2 * by + i];
        d += query[i] * key[3 * by + i];
      }
      logits[k] = a, logits[k + 1] = b, logits[k + 2] = c, logits[k + 3] = d;
    }
    for (; k < keys; ++k, key += by) {
      Scalar sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t i = 0; i < width; ++i) sum += query[i] * key[i];
      logits[k] = sum;
    }
  }

  /// Logits become probabilities.
  template <class Scalar>
  [[gnu::always_inline]] static void shares(Scalar scale, const Scalar* sink, int64_t keys, Scalar* x) {
    Scalar most = -std::numeric_limits<Scalar>::infinity(), sum = 0;
#pragma omp simd reduction(max : most)
    for (int64_t k = 0; k < keys; ++k) most = scale * x[k] > most ? scale * x[k] : most;
    if (sink != nullptr && *sink > most) most = *sink;
#pragma omp simd reduction(+ : sum)
    for (int64_t k = 0; k < keys; ++k) {
      x[k] = exp_of(scale * x[k] - most);
      sum += x[k];
    }
    if (sink != nullptr) sum += exp_of(*sink - most);
    const Scalar factor = Scalar(1) / sum;
#pragma omp simd
    for (int64_t k = 0; k < keys; ++k) x[k] *= factor;
  }

  template <class Scalar>
  [[gnu::always_inline]] static void mix(const NextAttention<Scalar>& all, const Scalar* value, int64_t keys,
                                         const Scalar* p, Scalar* out) {
    const int64_t width = all.value_width, by = all.value.by_position;
    for (int64_t i = 0; i < width; ++i) out[i] = Scalar(0);
    int64_t k = 0;
    for (; k + kKeys <= keys; k += kKeys, value += kKeys * by) {
#pragma omp simd
      for (int64_t i = 0; i < width; ++i) {
        out[i] += (p[k] * value[i] + p[k + 1] * value[by + i]) +
                  (p[k + 2] * value[2 * by + i] + p[k + 3] * value[3 * by + i]);
      }
    }
    for (; k < keys; ++k, value += by) {
#pragma omp simd
      for (int64_t i = 0; i < width; ++i) out[i] += p[k] * value[i];
    }
  }
};

}  // namespace

template <class Scalar>
void next_attention(const NextAttention<Scalar>& all, const HeadRows<Scalar>& out) {
  int64_t most = 0;
  for (int64_t s = 0; s < all.sequences; ++s) most = std::max(most, all.end_S[s]);
  if (all.window > 0) most = std::min(most, all.window);
  over_threads(all.sequences * all.key_heads, rows_of_thread(most * (all.width + all.value_width)),
               [&](int64_t begin, int64_t end) {
                 std::vector<Scalar> logits_K(static_cast<size_t>(most));
                 const NextTask<Scalar> task{all, out, logits_K.data(), begin, end};
                 run_vectorised<NextLoop>(&task);
               });
}

template void next_attention(const NextAttention<float>&, const HeadRows<float>&);
template void next_attention(const NextAttention<double>&, const HeadRows<double>&);

}  // namespace parallel
