#include "parallel/kernels/rotation.h"

#include "parallel/kernels/bfloat16.h"
#include "parallel/kernels/processor.h"

namespace parallel {
namespace {

/// stride 1: pairs are `apart` from each other; 2: neighbours. sign -1: the way back.
struct RotateLoop {
  template <class Scalar>
  [[gnu::always_inline]] static void run(int64_t half, int64_t apart, const Scalar* from, const Scalar* cos,
                                         const Scalar* sin, Wide<Scalar> sign, Scalar* to) {
    if (apart == 1) {
#pragma omp simd
      for (int64_t i = 0; i < half; ++i)
        turn<Scalar>(from[2 * i], from[2 * i + 1], cos[i], sign * sin[i], to[2 * i], to[2 * i + 1]);
    } else {
#pragma omp simd
      for (int64_t i = 0; i < half; ++i)
        turn<Scalar>(from[i], from[half + i], cos[i], sign * sin[i], to[i], to[half + i]);
    }
  }

 private:
  template <class Scalar>
  [[gnu::always_inline]] static void turn(Wide<Scalar> a, Wide<Scalar> b, Wide<Scalar> cos, Wide<Scalar> sin,
                                          Scalar& to_a, Scalar& to_b) {
    to_a = a * cos - b * sin;
    to_b = b * cos + a * sin;
  }
};

}  // namespace

template <class Scalar>
void rotate_pairs(const Rotation& rotation, const HeadRows<const Scalar>& from, const Scalar* cos_Lh,
                  const Scalar* sin_Lh, const HeadRows<Scalar>& to) {
  const int64_t half = rotation.width / 2, apart = rotation.neighbours ? 1 : half;
  over_threads(rotation.sequences * rotation.positions, rows_of_thread(rotation.heads * rotation.width),
               [&](int64_t begin, int64_t end) {
                 for (int64_t row = begin; row < end; ++row) {
                   const int64_t s = row / rotation.positions, l = row % rotation.positions;
                   const int64_t place = rotation.place_S != nullptr ? rotation.place_S[s] + l : l;
                   for (int64_t h = 0; h < rotation.heads; ++h) {
                     run_vectorised<RotateLoop>(half, apart, from.row(s, h, l), cos_Lh + place * half,
                                                sin_Lh + place * half, Wide<Scalar>(rotation.back ? -1 : 1),
                                                to.row(s, h, l));
                   }
                 }
               });
}

template void rotate_pairs(const Rotation&, const HeadRows<const float>&, const float*, const float*,
                           const HeadRows<float>&);
template void rotate_pairs(const Rotation&, const HeadRows<const double>&, const double*, const double*,
                           const HeadRows<double>&);
template void rotate_pairs(const Rotation&, const HeadRows<const Bfloat16>&, const Bfloat16*, const Bfloat16*,
                           const HeadRows<Bfloat16>&);

}  // namespace parallel
