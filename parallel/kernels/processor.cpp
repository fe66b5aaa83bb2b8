#include "parallel/kernels/processor.h"

#include <cstdlib>
#include <string_view>

namespace parallel {
namespace {

VectorWidth allowed() {
  const char* told = std::getenv("ATEN_CPU_CAPABILITY");
  if (told == nullptr) return VectorWidth::kAvx512;
  if (std::string_view(told) == "default") return VectorWidth::kBaseline;
  return std::string_view(told) == "avx2" ? VectorWidth::kAvx2 : VectorWidth::kAvx512;
}

VectorWidth widest() {
#if defined(__x86_64__) && defined(__GNUC__)
  if (__builtin_cpu_supports("x86-64-v4")) return VectorWidth::kAvx512;
  if (__builtin_cpu_supports("x86-64-v3")) return VectorWidth::kAvx2;
#endif
  return VectorWidth::kBaseline;
}

}  // namespace

VectorWidth vector_width() {
  static const VectorWidth width = std::min(widest(), allowed());
  return width;
}

}  // namespace parallel
