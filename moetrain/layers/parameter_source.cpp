#include "moetrain/layers/parameter_source.h"

#include <ATen/ATen.h>

#include <utility>

#include "parallel/base/even_part.h"

namespace moetrain {

ParameterSource::ParameterSource(uint64_t seed, at::TensorOptions options, std::shared_ptr<const parallel::Mesh> mesh,
                                 const LoraConfig& lora)
    : seed_(seed),
      options_(options),
      mesh_(mesh ? std::move(mesh) : std::make_shared<const parallel::Mesh>()),
      placements_(std::make_shared<PlacementTable>()),
      adapters_(std::make_shared<Adapters>(lora)) {}

ParameterSource ParameterSource::at(const std::string& child) const {
  ParameterSource source = *this;
  source.prefix_ = prefix_ + child + ".";
  return source;
}

at::Tensor ParameterSource::normal(const std::string& name, at::IntArrayRef shape, double std) const {
  return normal(name, parallel::whole_placement(shape.vec()), std);
}

at::Tensor ParameterSource::normal(const std::string& name, const parallel::Placement& placement, double std) const {
  return drawn(name, placement, [std](const auto& stream, int64_t i) { return std * stream.normal(i); });
}

at::Tensor ParameterSource::uniform(const std::string& name, const parallel::Placement& placement, double bound) const {
  return drawn(name, placement, [bound](const auto& stream, int64_t i) { return bound * (2 * stream.uniform(i) - 1); });
}

at::Tensor ParameterSource::drawn(const std::string& name, const parallel::Placement& placement,
                                  const std::function<double(const parallel::RandomStream&, int64_t)>& value) const {
  if (placement.replicas != parallel::Replicas::kWorld) placements_->insert_or_assign(prefix_ + name, placement);
  if (options_.device().is_meta()) return at::empty(placement.local_shape, options_);  // nothing to draw
  const parallel::RandomStream stream(seed_, "initial weights: " + prefix_ + name);
  at::Tensor drawn = at::empty(placement.local_shape, at::kDouble);
  double* element = drawn.mutable_data_ptr<double>();
  for (const parallel::ElementRange& run : placement.runs) {
    for (int64_t i = run.begin; i < run.begin + run.count; ++i) *element++ = value(stream, i);
  }
  return drawn.to(options_);
}

at::Tensor ParameterSource::spread(const std::string& name, at::IntArrayRef shape, int64_t dim, double std) const {
  return normal(name, spread_of(shape, dim), std);
}

at::Tensor ParameterSource::block(const std::string& name, at::IntArrayRef shape,
                                  const std::vector<parallel::DimPart>& parts, parallel::Replicas replicas,
                                  double std) const {
  return normal(name, block_of(shape, parts, replicas), std);
}

parallel::Placement ParameterSource::block_of(at::IntArrayRef shape, const std::vector<parallel::DimPart>& parts,
                                              parallel::Replicas replicas) const {
  const bool shape_only = options_.device().is_meta();
  return shape_only ? parallel::shape_of_block(shape.vec(), parts, replicas)
                    : parallel::block_placement(shape.vec(), parts, replicas);
}

parallel::Placement ParameterSource::spread_of(at::IntArrayRef shape, int64_t dim) const {
  const int64_t ranks = mesh_->shape().tensor;
  if (ranks == 1) return parallel::whole_placement(shape.vec());
  const auto [begin, count] = parallel::even_part(shape[static_cast<size_t>(dim)], mesh_->place().tensor, ranks);
  return block_of(shape, {{dim, begin, count}}, parallel::Replicas::kData);
}

bool ParameterSource::adapts(const std::string& layer, Adapter names) const {
  names.layer = layer.empty() ? prefix_.substr(0, prefix_.size() - 1) : prefix_ + layer;
  for (std::string* name : {&names.weight, &names.a, &names.b}) *name = prefix_ + *name;
  return adapters_->add(names);
}

parallel::RandomStream ParameterSource::stream(const std::string& name) const {
  return {seed_, "fixed draws: " + prefix_ + name};
}

at::Tensor ParameterSource::constant(const std::string&, at::IntArrayRef shape, double value) const {
  return at::full(shape, value, options_);
}

}  // namespace moetrain
