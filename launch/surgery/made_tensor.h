// A tensor of a transformed model said by what it is made of, and made piece by piece.
// defines: Taken, Slab, MadeTensor, check_made, TensorMaker
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launch/runs/stored_weights.h"

namespace launch {

/// Elements of a parent's tensor: element (i_0, i_1, ...) of a slab is its element first + sum of i_k x strides[k].
struct Taken {
  size_t parent = 0;
  std::string name;
  int64_t first = 0;
  std::vector<int64_t> strides = {};  // of each dim of the slab; empty: the tensor's own, the slab is rows of it
  /// Above 1: the mean of so many consecutive rows of it, of which one index of the slab is the column.
  int64_t rows_averaged = 1;
  /// Not empty: index i of dim `chosen_dim` of the slab is index chosen[i] there; they ascend. With strides.
  size_t chosen_dim = 0;
  std::vector<int64_t> chosen = {};
};

/// Consecutive rows (indices of dim 0) of a tensor: scale x (mean of what is taken) + constant + noise; or `values`.
struct Slab {
  int64_t rows = 0;
  std::vector<Taken> mean_of = {};  // empty: 0
  double scale = 1;
  double constant = 0;
  double std = 0;  // of normal draws, each by the seed, the tensor's name and the element's global index,
  std::optional<int64_t> first_draw = {};  // or as if the slab began at this one
  std::vector<double> values = {};         // not empty: of each element, and the others say nothing
};

struct MadeTensor {
  StoredWeights::Tensor of;  // name, shape, type
  std::vector<Slab> slabs;
};

/// Before anything is written. UserError, naming the tensor: rows that do not add up to its shape, elements that no
/// parent has.
void check_made(const MadeTensor& tensor, const std::vector<const StoredWeights*>& parents);

/// Makes any elements of such tensors. What lies in a parent as it is wanted is read piece by piece; of what is turned
/// or averaged the tensor read last is held, one of each parent.
class TensorMaker {
 public:
  TensorMaker(std::vector<const StoredWeights*> parents, uint64_t seed);

  /// Elements of the whole tensor, in its order. What is taken from one parent alone comes bit for bit.
  void make(const MadeTensor& tensor, const parallel::ElementRange& elements, double* out);

 private:
  struct Held {
    Taken taken;
    int64_t first = 0;
    std::vector<double> values;
  };
  const Held& held(const Taken& taken, int64_t first, int64_t count, int64_t row);
  void take(const Taken& taken, const std::vector<int64_t>& dims, const parallel::ElementRange& elements, double* out);

  std::vector<const StoredWeights*> parents_;
  uint64_t seed_;
  std::vector<Held> held_;
};

}  // namespace launch
