// Functions of one number without branches, so that loops over them become vector instructions. Not a number stays not
// a number.
// defines: exp_of, sigmoid, NormalCurve, normal_curve
#pragma once
#include <bit>
#include <cstdint>

namespace parallel {

/// e^x to about one unit in the last place: x = n log 2 + r with |r| <= log 2 / 2, and the series of e^r to where a
/// further term is below half a unit. Below the smallest normal number's logarithm it stays at about that number, and
/// above the largest's at about that.
[[gnu::always_inline]] inline float exp_of(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 x 2^23: adding and taking it away rounds to whole numbers
  const float least = x < -87.0f ? -87.0f : x, held = least > 88.0f ? 88.0f : least;
  const float n = (held * 1.44269504f + kRound) - kRound;
  const float r = (held - n * 0x1.62e4p-1f) - n * 1.42860682e-6f;
  float e = 1.0f / 5040;
  e = e * r + 1.0f / 720;
  e = e * r + 1.0f / 120;
  e = e * r + 1.0f / 24;
  e = e * r + 1.0f / 6;
  e = e * r + 0.5f;
  e = e * r + 1.0f;
  e = e * r + 1.0f;
  return e * std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
}

[[gnu::always_inline]] inline double exp_of(double x) {
  constexpr double kRound = 6755399441055744.0;  // 1.5 x 2^52; its last bits are then those of the whole number
  const double least = x < -708.0 ? -708.0 : x, held = least > 709.0 ? 709.0 : least;
  const double shifted = held * 1.4426950408889634 + kRound, n = shifted - kRound;
  const double r = (held - n * 0x1.62e42fefa2000p-1) - n * 0x1.9ef35793c7673p-41;
  double e = 1.0 / 6227020800;
  e = e * r + 1.0 / 479001600;
  e = e * r + 1.0 / 39916800;
  e = e * r + 1.0 / 3628800;
  e = e * r + 1.0 / 362880;
  e = e * r + 1.0 / 40320;
  e = e * r + 1.0 / 5040;
  e = e * r + 1.0 / 720;
  e = e * r + 1.0 / 120;
  e = e * r + 1.0 / 24;
  e = e * r + 1.0 / 6;
  e = e * r + 0.5;
  e = e * r + 1.0;
  e = e * r + 1.0;
  const int64_t power = std::bit_cast<int64_t>(shifted) - std::bit_cast<int64_t>(kRound);
  return e * std::bit_cast<double>((power + 1023) << 52);
}

template <class Scalar>
[[gnu::always_inline]] inline Scalar sigmoid(Scalar x) {
  return Scalar(1) / (Scalar(1) + exp_of(-x));
}

/// The normal distribution's.
template <class Scalar>
struct NormalCurve {
  Scalar below;    // the probability of less than x
  Scalar density;  // at x
};

/// (1 + 2 z) e^(z^2) erfc(z) for z >= 0, as a polynomial in t = (z - k) / (z + k), from -1 to 1; the variable is that
/// of Shepherd and Laframboise 1981, the coefficients are of the interpolation at Chebyshev's points. Relative error
/// 7e-9 in float32, 1e-17 in float64, round-off apart.
[[gnu::always_inline]] inline float scaled_tail(float z) {
  const float t = (z - 3.0f) / (z + 3.0f);
  float p = 8.00745497e-5f;
  p = p * t - 9.25376912e-5f;
  p = p * t - 7.34082050e-4f;
  p = p * t + 1.87506025e-3f;
  p = p * t + 2.50677867e-3f;
  p = p * t - 2.37635597e-2f;
  p = p * t + 6.83131967e-2f;
  p = p * t - 0.119275281f;
  p = p * t + 0.129644721f;
  p = p * t - 4.75621561e-2f;
  p = p * t - 0.135621100f;
  return p * t + 1.25300806f;
}

[[gnu::always_inline]] inline double scaled_tail(double z) {
  const double t = (z - 4.0) / (z + 4.0);
  double p = -2.76412023373457802e-10;
  p = p * t + 9.2976252637096597e-10;
  p = p * t + 3.23239734450820326e-9;
  p = p * t - 1.23387314037984437e-8;
  p = p * t - 2.07258024881819618e-8;
  p = p * t + 1.06318175938181482e-7;
  p = p * t + 7.77194324108691282e-8;
  p = p * t - 8.21064793329733634e-7;
  p = p * t + 2.91734255730897332e-7;
  p = p * t + 5.70657829924074054e-6;
  p = p * t - 0.0000112211356659659071;
  p = p * t - 0.0000243977311430232924;
  p = p * t + 0.000150621426086519447;
  p = p * t - 0.000199257152472651783;
  p = p * t - 0.000757773243594257611;
  p = p * t + 0.0050319700691022558;
  p = p * t - 0.0161977340629347706;
  p = p * t + 0.0371675155263380036;
  p = p * t - 0.0663303658118605825;
  p = p * t + 0.0937328349991126395;
  p = p * t - 0.101039066036318116;
  p = p * t + 0.0680970542546683824;
  p = p * t + 0.0153796521026199743;
  p = p * t - 0.139621116840562284;
  return p * t + 1.23299511862555251;
}

/// Of the tail on x's side, which is relatively exact, unlike 1 + erf.
template <class Scalar>
[[gnu::always_inline]] inline NormalCurve<Scalar> normal_curve(Scalar x) {
  const Scalar size = x < Scalar(0) ? -x : x, z = size * Scalar(0.70710678118654752440);
  const Scalar e = exp_of(-z * z);
  const Scalar tail = Scalar(0.5) * e * scaled_tail(z) / (Scalar(1) + Scalar(2) * z);
  return {.below = x < Scalar(0) ? tail : Scalar(1) - tail, .density = e * Scalar(0.39894228040143267794)};
}

}  // namespace parallel
