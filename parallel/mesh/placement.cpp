#include "parallel/mesh/placement.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

#include "parallel/base/fault.h"

namespace parallel {
namespace {

int64_t product(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

}  // namespace

int64_t Placement::global_elements() const { return product(global_shape); }
int64_t Placement::local_elements() const { return product(local_shape); }

Placement whole_placement(std::vector<int64_t> shape) {
  return block_placement(std::move(shape), {}, Replicas::kWorld);
}

Placement shape_of_block(std::vector<int64_t> shape, const std::vector<DimPart>& parts, Replicas replicas) {
  Placement placement{.global_shape = std::move(shape), .replicas = replicas};
  placement.local_shape = placement.global_shape;
  for (const auto& [dim, first, count] : parts) {
    const auto d = static_cast<size_t>(dim);
    check_internal(
        d < placement.global_shape.size() && 0 <= first && 0 <= count && first + count <= placement.global_shape[d],
        "block_placement: ", first, " .. ", first + count, " of dimension ", dim);
    placement.local_shape[d] = count;
  }
  return placement;
}

Placement block_placement(std::vector<int64_t> shape, const std::vector<DimPart>& parts, Replicas replicas) {
  Placement placement = shape_of_block(std::move(shape), parts, replicas);
  const std::vector<int64_t>& global = placement.global_shape;
  std::vector<int64_t> begin(global.size(), 0);
  for (const DimPart& part : parts) begin[static_cast<size_t>(part.dim)] = part.begin;
  const std::vector<int64_t>& local = placement.local_shape;
  if (placement.local_elements() == 0) return placement;
  // From `inner` on the block is whole but for its first dimension: one run for each index of the dimensions before.
  size_t inner = global.size();
  int64_t length = 1, stride = 1;  // of a run; of dimension inner - 1
  while (inner > 0 && local[inner - 1] == global[inner - 1]) stride *= global[--inner];
  length = stride;
  int64_t offset = 0;
  if (inner > 0) {
    --inner;
    offset = begin[inner] * stride;
    length = local[inner] * stride;
    stride *= global[inner];
  }
  std::vector<int64_t> index(inner, 0);
  while (true) {
    int64_t place = offset, step = stride;
    for (size_t d = inner; d-- > 0;) {
      place += (begin[d] + index[d]) * step;
      step *= global[d];
    }
    placement.runs.push_back({place, length});
    size_t d = inner;
    while (d > 0 && ++index[d - 1] == local[d - 1]) index[--d] = 0;
    if (d == 0) return placement;
  }
}

Placement part_placement(const Placement& placement, const ElementRange& elements, std::vector<int64_t> local_shape) {
  Placement part{
      .global_shape = placement.global_shape, .local_shape = std::move(local_shape), .replicas = placement.replicas};
  check_internal(part.local_elements() == elements.count, "part_placement: ", elements.count, " elements");
  int64_t place = 0;
  for (const ElementRange& run : placement.runs) {
    const int64_t begin = std::max(elements.begin, place);
    const int64_t end = std::min(elements.begin + elements.count, place + run.count);
    if (begin < end) part.runs.push_back({run.begin + begin - place, end - begin});
    place += run.count;
  }
  return part;
}

}  // namespace parallel
