// Initial weights as a function of (seed, global name, global index).
// defines: ParameterSource, PlacementTable, VectorNames
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "moetrain/layers/adapters.h"
#include "parallel/base/random.h"
#include "parallel/mesh/mesh.h"

namespace moetrain {

/// By full name: what this rank holds of the parameters that are spread over ranks. Others are whole everywhere.
using PlacementTable = std::map<std::string, parallel::Placement>;

/// Full names of parameters of two dimensions or more that are lists of vectors and no matrices.
using VectorNames = std::set<std::string>;

/// Hands out initial parameters, complete at birth. A weight depends on the seed, its full name and the index of
/// each element in the whole tensor, so any shard equals that slice of the whole.
class ParameterSource {
 public:
  /// `mesh`: the ranks that the model is spread over; null: this one. `lora`: which layers have adapters.
  ParameterSource(uint64_t seed, at::TensorOptions options, std::shared_ptr<const parallel::Mesh> mesh = nullptr,
                  const LoraConfig& lora = {});

  /// The source for a child module: names gain "child.".
  ParameterSource at(const std::string& child) const;

  /// Normal with mean 0; drawn in float64 on the CPU, then rounded to the model's dtype. On the meta device: a shape.
  at::Tensor normal(const std::string& name, at::IntArrayRef shape, double std) const;
  /// This rank's part of it.
  at::Tensor normal(const std::string& name, const parallel::Placement& placement, double std) const;
  /// Likewise, of the block that lies within every part. On the meta device its placement lists no runs: of a large
  /// model's experts they would be hundreds of millions.
  at::Tensor block(const std::string& name, at::IntArrayRef shape, const std::vector<parallel::DimPart>& parts,
                   parallel::Replicas replicas, double std) const;
  /// Likewise, of one whose dimension `dim` is spread over the tensor group in parts as even as can be.
  at::Tensor spread(const std::string& name, at::IntArrayRef shape, int64_t dim, double std) const;
  at::Tensor constant(const std::string& name, at::IntArrayRef shape, double value) const;

  /// Uniform in [-bound, bound), else as normal().
  at::Tensor uniform(const std::string& name, const parallel::Placement& placement, double bound) const;
  /// The placements that block() and spread() make.
  parallel::Placement block_of(at::IntArrayRef shape, const std::vector<parallel::DimPart>& parts,
                               parallel::Replicas replicas) const;
  parallel::Placement spread_of(at::IntArrayRef shape, int64_t dim) const;

  /// Says that `layer` is linear, a child of this source's or (empty) itself, whose weights have these names in this
  /// source. Whether it gets an adapter.
  bool adapts(const std::string& layer, Adapter names) const;
  /// Of all linear layers that asked.
  const std::shared_ptr<Adapters>& adapters() const { return adapters_; }

  /// Says of a parameter that its rows are looked up or compared one by one: it is a list of vectors and not a matrix
  /// that maps tokens (embeddings, output heads, prototypes). An optimizer of matrices leaves it alone.
  void call_vectors(const std::string& name) const { vectors_->insert(prefix_ + name); }

  /// Draws that belong to the model for good, as its weights do: the same when it is evaluated with another seed.
  parallel::RandomStream stream(const std::string& name) const;

  const at::TensorOptions& options() const { return options_; }
  const std::shared_ptr<const parallel::Mesh>& mesh() const { return mesh_; }
  /// Of all parameters handed out by this source, its parents and their children.
  const std::shared_ptr<PlacementTable>& placements() const { return placements_; }
  /// Likewise, those that were called vectors.
  const std::shared_ptr<VectorNames>& vectors() const { return vectors_; }

 private:
  /// value: of the element with that global index.
  at::Tensor drawn(const std::string& name, const parallel::Placement& placement,
                   const std::function<double(const parallel::RandomStream&, int64_t)>& value) const;

  uint64_t seed_;
  at::TensorOptions options_;
  std::shared_ptr<const parallel::Mesh> mesh_;
  std::shared_ptr<PlacementTable> placements_;
  std::shared_ptr<VectorNames> vectors_ = std::make_shared<VectorNames>();
  std::shared_ptr<Adapters> adapters_;
  std::string prefix_;
};

}  // namespace moetrain
