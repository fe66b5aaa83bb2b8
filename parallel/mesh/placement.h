// defines: Placement, ElementRange, DimPart, Replicas, Sharding, block_placement, shape_of_block: which elements of a
// global tensor a rank holds
#pragma once
#include <cstdint>
#include <vector>

namespace parallel {

/// Which ranks hold the same elements: those over whom a gradient is summed. kExpertParts: those that have the same
/// experts, each its part of their hidden units, of what does not count hidden units.
enum class Replicas { kWorld, kData, kExpertData, kExpertParts };

/// ZeRO (Rajbhandari et al. 2020) over the ranks that share a parameter. kState: each rank has the summed gradients of
/// its own part only, and so updates and keeps optimizer state for that part alone. kGradients: gradients too are kept
/// for that part alone; each micro-batch is reduced by itself.
enum class Sharding { kNone, kState, kGradients };

/// Elements begin .. begin + count of a tensor in row-major order.
struct ElementRange {
  int64_t begin = 0, count = 0;
  bool operator==(const ElementRange&) const = default;
};

/// What a rank holds of one tensor. Initial values, gradients, optimizer state and checkpoints all follow it.
struct Placement {
  std::vector<int64_t> global_shape, local_shape;
  std::vector<ElementRange> runs;  // of the global tensor, in the order of the local one's elements
  Replicas replicas = Replicas::kWorld;

  int64_t global_elements() const;
  int64_t local_elements() const;
  bool whole() const { return local_elements() == global_elements(); }
};

/// Indices begin .. begin + count of one dimension.
struct DimPart {
  int64_t dim = 0, begin = 0, count = 0;
};

Placement whole_placement(std::vector<int64_t> shape);
/// The block that lies within every part; other dimensions whole.
Placement block_placement(std::vector<int64_t> shape, const std::vector<DimPart>& parts, Replicas replicas);
/// The same without its runs.
Placement shape_of_block(std::vector<int64_t> shape, const std::vector<DimPart>& parts, Replicas replicas);

/// Elements begin .. begin + count of what `placement` holds, in local order, as a tensor of `local_shape`.
Placement part_placement(const Placement& placement, const ElementRange& elements, std::vector<int64_t> local_shape);

}  // namespace parallel
