#include "launch/surgery/made_tensor.h"

#include <algorithm>

#include "launch/interchange/tensors/safetensors.h"
#include "parallel/base/fault.h"
#include "parallel/base/random.h"

namespace launch {
namespace {

int64_t product_of(const std::vector<int64_t>& dims, size_t from = 0) {
  int64_t product = 1;
  for (size_t k = from; k < dims.size(); ++k) product *= dims[k];
  return product;
}

std::vector<int64_t> own_strides(const std::vector<int64_t>& dims) {
  std::vector<int64_t> strides(dims.size(), 1);
  for (size_t k = dims.size(); k-- > 1;) strides[k - 1] = strides[k] * dims[k];
  return strides;
}

bool lies_as_wanted(const Taken& taken, const std::vector<int64_t>& dims) {
  return taken.rows_averaged == 1 && taken.chosen.empty() &&
         (taken.strides.empty() || taken.strides == own_strides(dims));
}

/// Index i of dim k of a slab, as an index of the parent's.
int64_t index_there(const Taken& taken, size_t k, int64_t i) {
  return taken.chosen.empty() || k != taken.chosen_dim ? i : taken.chosen[static_cast<size_t>(i)];
}

int64_t offset_of(const Taken& taken, const std::vector<int64_t>& dims, int64_t element) {
  int64_t offset = 0;
  for (size_t k = dims.size(); k-- > 0;) {
    offset += index_there(taken, k, element % dims[k]) * taken.strides[k];
    element /= dims[k];
  }
  return offset;
}

/// Elements from the first to the last that a slab of these dims takes.
int64_t extent(const Taken& taken, const std::vector<int64_t>& dims) {
  if (product_of(dims) == 0) return 0;
  if (taken.strides.empty()) return product_of(dims);
  int64_t last = 0;
  for (size_t k = 0; k < dims.size(); ++k)
    last += index_there(taken, k, dims[k] - 1) * taken.strides[k];  // the chosen ascend
  return last + 1;
}

std::vector<int64_t> dims_of(const Slab& slab, const MadeTensor& tensor) {
  std::vector<int64_t> dims = tensor.of.shape;
  dims.front() = slab.rows;
  return dims;
}

const StoredWeights::Tensor& tensor_named(const StoredWeights& parent, const std::string& name) {
  const auto found = std::ranges::find(parent.tensors(), name, &StoredWeights::Tensor::name);
  if (found == parent.tensors().end()) parallel::user_error("the model that is transformed has no tensor '", name, "'");
  return *found;
}

}  // namespace

void check_made(const MadeTensor& tensor, const std::vector<const StoredWeights*>& parents) {
  int64_t rows = 0;
  for (const Slab& slab : tensor.slabs) {
    rows += slab.rows;
    parallel::check_internal(slab.values.empty() || std::ssize(slab.values) == product_of(dims_of(slab, tensor)),
                             tensor.of.name, " of ", slab.values.size(), " values");
    for (const Taken& taken : slab.mean_of) {
      const StoredWeights::Tensor& from = tensor_named(*parents.at(taken.parent), taken.name);
      const std::vector<int64_t> dims = dims_of(slab, tensor);
      const int64_t wanted = taken.rows_averaged > 1 ? product_of(dims, 1) * taken.rows_averaged : extent(taken, dims);
      if (taken.first >= 0 && taken.first + wanted <= from.elements()) continue;
      parallel::user_error("'", tensor.of.name, "' ", interchange::shape_text(tensor.of.shape), " would take elements ",
                           taken.first, " to ", taken.first + wanted - 1, " of '", from.name, "' ",
                           interchange::shape_text(from.shape));
    }
  }
  if (rows == tensor.of.shape.front()) return;
  parallel::user_error("'", tensor.of.name, "' ", interchange::shape_text(tensor.of.shape), " would be made of ", rows,
                       " rows");
}

TensorMaker::TensorMaker(std::vector<const StoredWeights*> parents, uint64_t seed)
    : parents_(std::move(parents)), seed_(seed), held_(parents_.size()) {}

/// Elements first to first + count of what is taken; averaged ones of rows that are `row` long.
const TensorMaker::Held& TensorMaker::held(const Taken& taken, int64_t first, int64_t count, int64_t row) {
  Held& held = held_[taken.parent];
  const bool there = held.taken.name == taken.name && held.taken.rows_averaged == taken.rows_averaged &&
                     held.first <= first && first + count <= held.first + static_cast<int64_t>(held.values.size());
  if (there) return held;
  const StoredWeights& parent = *parents_[taken.parent];
  held = {taken, first, std::vector<double>(static_cast<size_t>(count), 0.0)};
  if (!taken.chosen.empty()) {
    parent.read(taken.name, {first, count}, held.values.data());
    return held;
  }
  if (taken.rows_averaged == 1) {  // all of it: its other experts' parts are asked for next
    const int64_t whole = tensor_named(parent, taken.name).elements();
    held.first = 0;
    held.values.resize(static_cast<size_t>(whole));
    parent.read(taken.name, {0, whole}, held.values.data());
    return held;
  }
  std::vector<double> one(static_cast<size_t>(row));
  for (int64_t r = 0; r < taken.rows_averaged; ++r) {
    parent.read(taken.name, {taken.first + r * row, row}, one.data());
    for (size_t i = 0; i < one.size(); ++i) held.values[i] += one[i];
  }
  for (double& value : held.values) value /= static_cast<double>(taken.rows_averaged);
  return held;
}

/// `elements`: of the slab, which has `dims`.
void TensorMaker::take(const Taken& taken, const std::vector<int64_t>& dims, const parallel::ElementRange& elements,
                       double* out) {
  if (lies_as_wanted(taken, dims)) {
    return parents_[taken.parent]->read(taken.name, {taken.first + elements.begin, elements.count}, out);
  }
  const int64_t row = product_of(dims, 1);
  const bool averaged = taken.rows_averaged > 1;
  const Held& from = averaged ? held(taken, taken.first, row, row) : held(taken, taken.first, extent(taken, dims), 0);
  for (int64_t i = 0; i < elements.count; ++i) {
    const int64_t element = elements.begin + i;
    const int64_t place = averaged ? element % row : taken.first - from.first + offset_of(taken, dims, element);
    out[i] = from.values[static_cast<size_t>(place)];
  }
}

void TensorMaker::make(const MadeTensor& tensor, const parallel::ElementRange& elements, double* out) {
  const parallel::RandomStream stream(seed_, "initial weights: " + tensor.of.name);
  const int64_t row = product_of(tensor.of.shape, 1);
  int64_t before = 0;  // elements of the slabs before
  std::vector<double> one;
  for (const Slab& slab : tensor.slabs) {
    const int64_t begin = std::max(elements.begin, before);
    const int64_t end = std::min(elements.begin + elements.count, before + slab.rows * row);
    const parallel::ElementRange own{begin - before, end - begin};
    before += slab.rows * row;
    if (own.count <= 0) continue;
    double* to = out + (begin - elements.begin);
    if (!slab.values.empty()) {
      std::copy_n(slab.values.begin() + own.begin, own.count, to);
      continue;
    }
    std::fill(to, to + own.count, 0.0);
    if (slab.mean_of.size() == 1) take(slab.mean_of.front(), dims_of(slab, tensor), own, to);
    if (slab.mean_of.size() > 1) {
      one.resize(static_cast<size_t>(own.count));
      for (const Taken& taken : slab.mean_of) {
        take(taken, dims_of(slab, tensor), own, one.data());
        for (int64_t i = 0; i < own.count; ++i) to[i] += one[static_cast<size_t>(i)];
      }
    }
    const double scale = slab.scale / static_cast<double>(std::max<size_t>(slab.mean_of.size(), 1));
    if (scale == 1 && slab.constant == 0 && slab.std == 0) continue;
    const int64_t first_draw = slab.first_draw ? *slab.first_draw + own.begin : begin;
    for (int64_t i = 0; i < own.count; ++i) {
      to[i] = to[i] * scale + slab.constant;
      if (slab.std > 0) to[i] += slab.std * stream.normal(first_draw + i);
    }
  }
}

}  // namespace launch
