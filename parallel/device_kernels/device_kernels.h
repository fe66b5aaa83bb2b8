// Kernels of GPUs, called by addresses of the device's memory alone: nvcc sees no header of LibTorch's. What each does
// is what the loops of kernels/, or LibTorch's operations, do elsewhere; tests hold it against float64. defines:
// Element, DeviceStream, DeviceKernels, compiled_kernels, kMostRanked, kMostSorted
#pragma once
#include <cstdint>

namespace parallel {

/// Of a tensor. Computed is in float64 for float64, else in float32.
enum class Element { kFloat, kDouble, kBfloat16 };

/// CUDA's handle of a stream; none: the default stream's.
struct DeviceStream {
  void* handle = nullptr;
};

// What a kernel is told. Tensors are contiguous; addresses() shows every address that a kernel reads or writes. Where
// all of them, and rows, begin at multiples of 16 bytes, memory is taken 16 bytes at a time.
namespace on_device {

/// out = silu(gate) up, silu(x) = x sigmoid(x) (Shazeer 2020). Of `count` numbers; `out` may be an input.
struct Swiglu {
  Element element;
  int64_t count;
  const void *gate, *up;
  void* out;

  template <class Each>
  void addresses(Each&& each) {
    each(gate), each(up), each(out);
  }
};
/// Outputs may be inputs.
struct SwigluBackward {
  Element element;
  int64_t count;
  const void *grad_out, *gate, *up;
  void *grad_gate, *grad_up;
  void* hidden = nullptr;  // where it is wanted once more: what Swiglu makes, the same bits

  template <class Each>
  void addresses(Each&& each) {
    each(grad_out), each(gate), each(up), each(grad_gate), each(grad_up), each(hidden);
  }
};

/// out = (up + 1) gate sigmoid(slope gate), of a gate of at most `limit` and an up within `limit` of 0 (OpenAI 2025,
/// GPT-OSS). What is held has no gradient.
struct ClampedSwiglu {
  Element element;
  int64_t count;
  double limit, slope;
  const void *gate, *up;
  void* out;

  template <class Each>
  void addresses(Each&& each) {
    each(gate), each(up), each(out);
  }
};
struct ClampedSwigluBackward {
  Element element;
  int64_t count;
  double limit, slope;
  const void *grad_out, *gate, *up;
  void *grad_gate, *grad_up;

  template <class Each>
  void addresses(Each&& each) {
    each(grad_out), each(gate), each(up), each(grad_gate), each(grad_up);
  }
};

/// out = x P(normal < x) (Hendrycks and Gimpel 2016).
struct Gelu {
  Element element;
  int64_t count;
  const void* input;
  void* out;

  template <class Each>
  void addresses(Each&& each) {
    each(input), each(out);
  }
};
/// `grad_input` may be an input.
struct GeluBackward {
  Element element;
  int64_t count;
  const void *grad_out, *input;
  void* grad_input;

  template <class Each>
  void addresses(Each&& each) {
    each(grad_out), each(input), each(grad_input);
  }
};

// R rows and T tokens of D numbers; K choices of a token, numbered t * K + j (kernels/token_rows.h).

/// rows[r] = from[index[r]]
struct CopyRows {
  Element element;
  int64_t rows, width;
  const void* from;
  const int64_t* index_R;
  void* rows_RD;

  template <class Each>
  void addresses(Each&& each) {
    each(from), each(index_R), each(rows_RD);
  }
};

/// out[t] = sum over j of weight[t, j] rows[row[t, j]], in the order of j; `rows` as a row: none.
struct AddWeightedRows {
  Element element;
  int64_t tokens, choices, rows, width;
  const void* rows_RD;
  const int64_t* row_TK;
  const void* weight_TK;  // null: all ones
  void* out_TD;

  template <class Each>
  void addresses(Each&& each) {
    each(rows_RD), each(row_TK), each(weight_TK), each(out_TD);
  }
};

/// grad_rows[r] = weight[slot[r]] grad[token[r]], grad_weight[slot[r]] = <grad[token[r]], rows[r]>; each sum in one
/// order, whatever lies beside it. Weights of choices without a row keep what is there.
struct WeightedRowsBackward {
  Element element;
  int64_t rows, width;
  const void *grad_TD, *rows_RD, *weight_TK;
  const int64_t *token_R, *slot_R;
  void *grad_rows_RD, *grad_weight_TK;

  template <class Each>
  void addresses(Each&& each) {
    each(grad_TD), each(rows_RD), each(weight_TK), each(token_R), each(slot_R), each(grad_rows_RD);
    each(grad_weight_TK);
  }
};

/// Choices by expert, each expert's in order, dropped ones last, as a stable counting sort: where each expert's rows
/// end, and where each choice stands.
struct SortChoices {
  int64_t choices, top_k, experts;
  const int64_t* expert_N;    // of no expert: dropped
  int32_t* scratch;           // DeviceKernels::sorting_scratch
  int32_t* end_E;             // behind the last row of each
  int64_t *token_N, *slot_N;  // of each row, and of dropped choices behind them: choice / top_k, and the choice
  int64_t* row_N;             // of each choice; as many as there are rows where it was dropped

  template <class Each>
  void addresses(Each&& each) {
    each(expert_N), each(scratch), each(end_E), each(token_N), each(slot_N), each(row_N);
  }
};

/// The matrices of groups that have no rows become zeros; others stay.
struct ZeroIdleGroups {
  int64_t groups, bytes;  // of one matrix
  const int32_t* end_G;   // behind the last row of each
  void* out;

  template <class Each>
  void addresses(Each&& each) {
    each(end_G), each(out);
  }
};

/// The k largest of each row as moetrain/ranking orders them: neighbours in the order of values whose gap is at most
/// `bound` times the larger magnitude are joined, and joined ones stand in the order of their index. NaN is the
/// smallest.
struct LargestK {
  Element element;  // float32 or float64
  int64_t rows, columns, k;
  const void *value, *magnitude;
  double bound;
  int64_t* chosen;  // [rows, k]

  template <class Each>
  void addresses(Each&& each) {
    each(value), each(magnitude), each(chosen);
  }
};

/// kept[i] = the stream's 16-bit word number first + i is at least `threshold` (RandomStream::words16).
struct KeepMask {
  uint32_t key[2], tweak[2];  // RandomStream::words
  int64_t first, count, threshold;
  uint8_t* kept;

  template <class Each>
  void addresses(Each&& each) {
    each(kept);
  }
};

/// out[i] = the stream's uniform number first + i, plus `shift` (RandomStream::uniform).
struct Uniform {
  uint32_t key[2], tweak[2];
  int64_t first, count;
  double shift;
  double* out;

  template <class Each>
  void addresses(Each&& each) {
    each(out);
  }
};

}  // namespace on_device

/// Each is put into the stream and returns at once: null, or what CUDA said against it.
struct DeviceKernels {
  template <class Call>
  using Kernel = const char* (*)(const Call&, DeviceStream);

  /// Whether there is code for the device that is current, and its driver takes it.
  bool (*usable)();
  Kernel<on_device::Swiglu> swiglu;
  Kernel<on_device::SwigluBackward> swiglu_backward;
  Kernel<on_device::ClampedSwiglu> clamped_swiglu;
  Kernel<on_device::ClampedSwigluBackward> clamped_swiglu_backward;
  Kernel<on_device::Gelu> gelu;
  Kernel<on_device::GeluBackward> gelu_backward;
  Kernel<on_device::CopyRows> copy_rows;
  Kernel<on_device::AddWeightedRows> add_weighted_rows;
  Kernel<on_device::WeightedRowsBackward> weighted_rows_backward;
  Kernel<on_device::SortChoices> sort_choices;
  int64_t (*sorting_scratch)(int64_t choices, int64_t experts);  // numbers of SortChoices::scratch
  Kernel<on_device::ZeroIdleGroups> zero_idle_groups;
  Kernel<on_device::LargestK> largest_k;
  Kernel<on_device::KeepMask> keep_mask;
  Kernel<on_device::Uniform> uniform;
};

/// Columns that largest_k takes, experts that sort_choices does.
constexpr int64_t kMostRanked = 512, kMostSorted = 512;

/// Null where nvcc was not there when this was built (no_kernels.cpp).
const DeviceKernels* compiled_kernels();

}  // namespace parallel
