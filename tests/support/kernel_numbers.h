// Numbers of every type that kernels take, drawn by index, and how far a type rounds.
// defines: kElement, exact, stored, unit_of, numbers
#pragma once
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "parallel/base/random.h"
#include "parallel/device_kernels/device_kernels.h"
#include "parallel/kernels/bfloat16.h"

namespace parallel {

template <class Number>
constexpr Element kElement = std::is_same_v<Number, float>    ? Element::kFloat
                             : std::is_same_v<Number, double> ? Element::kDouble
                                                              : Element::kBfloat16;

inline double exact(float x) { return x; }
inline double exact(double x) { return x; }
inline double exact(Bfloat16 x) { return static_cast<float>(x); }

template <class Number>
Number stored(double x) {
  return Number(static_cast<Wide<Number>>(x));
}

/// Relative, of the nearest number.
template <class Number>
double unit_of() {
  return std::is_same_v<Number, float> ? 0x1p-23 : std::is_same_v<Number, double> ? 0x1p-52 : 0x1p-8;
}

/// Normal draws of that name.
template <class Number>
std::vector<Number> numbers(const std::string& name, int64_t count, double scale = 1) {
  const RandomStream stream(5, name);
  std::vector<Number> all;
  for (int64_t i = 0; i < count; ++i) all.push_back(stored<Number>(scale * stream.normal(i)));
  return all;
}

}  // namespace parallel
