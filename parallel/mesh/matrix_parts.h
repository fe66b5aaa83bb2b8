// defines: MatrixParts: a rank's part of stacked matrices, and the whole ones
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "parallel/comm/communicator.h"
#include "parallel/mesh/mesh.h"

namespace parallel {

// N matrices, R rows, C columns; r and c of them here

/// N matrices one behind the other, of each of which this rank may hold some rows or some columns (a tensor group, or
/// parts of experts). Where ZeRO leaves a rank some of the matrices, N is how many: those ranks that hold the other
/// parts have the same ones (GradientUnit).
class MatrixParts {
 public:
  /// What this rank holds of a tensor [..., R, C]. Of a mesh of shapes only, all but gather().
  MatrixParts(const Placement& placement, std::shared_ptr<const Mesh> mesh);

  int64_t rows() const { return rows_; }  // of the whole matrix
  int64_t columns() const { return columns_; }
  /// Numbers of one matrix here, and of a whole one.
  int64_t own_elements() const { return own_rows_ * own_columns_; }
  int64_t whole_elements() const { return rows_ * columns_; }
  /// Whether other ranks hold other parts of them.
  bool in_parts() const { return !cut_.empty(); }

  /// Whole matrices that are still on their way.
  class Gathering {
   public:
    at::Tensor wait();  // [N, R, C]; once

   private:
    friend class MatrixParts;
    at::Tensor parts_, gathered_;
    bool columns_ = false;  // what is gathered lies column by column
    Work work_;
  };
  /// part: N r c numbers of any shape. Collective over the ranks that hold the other parts.
  Gathering gather(const at::Tensor& part) const;
  /// This rank's part again: [N, R, C] -> a view [N, r, c].
  at::Tensor own(const at::Tensor& whole_NRC) const;

 private:
  int64_t rows_ = 0, columns_ = 0, own_rows_ = 0, own_columns_ = 0;
  std::shared_ptr<const Mesh> mesh_;
  Replicas replicas_;
  RowCounts cut_;      // rows or columns of each rank that holds a part; empty: the matrices are whole
  int64_t begin_ = 0;  // of this rank's
};

}  // namespace parallel
