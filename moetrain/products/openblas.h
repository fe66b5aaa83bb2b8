// defines: OpenBlas: the serial OpenBLAS, opened for this process alone
#pragma once
#include <optional>
#include <string>

namespace moetrain {

/// OpenBLAS without threads of its own, opened so that none of its symbols meets LibTorch's, which has a BLAS too.
class OpenBlas {
 public:
  /// The one of this process; null where there is none.
  static const OpenBlas* at_hand();
  /// Where it is and which, or why there is none.
  static const std::string& facts();

  struct Matrix {
    const float* data = nullptr;
    int stride = 0;           // of its rows, or transposed of its columns
    bool transposed = false;  // columns are contiguous
  };
  struct Result {
    float* data = nullptr;
    int stride = 0;    // of its rows
    bool add = false;  // to what is there
  };
  /// out [m, n] = left [m, k] right [k, n]. Any number of threads at once.
  void multiply(int m, int n, int k, const Matrix& left, const Matrix& right, const Result& out) const;

 private:
  using Sgemm = void (*)(int order, int left, int right, int m, int n, int k, float alpha, const float* a, int a_stride,
                         const float* b, int b_stride, float beta, float* c, int c_stride);
  struct Found;
  static const Found& found();
  /// Empty: opened. Else why not.
  std::string open(const std::string& path);

  Sgemm sgemm_ = nullptr;
  std::string place_, config_;
};

}  // namespace moetrain
