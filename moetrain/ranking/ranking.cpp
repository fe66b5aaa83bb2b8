#include "moetrain/ranking/ranking.h"

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "parallel/base/fault.h"
#include "parallel/device/accelerator.h"
#include "parallel/device/host_tensor.h"
#include "parallel/device/kernel_call.h"
#include "parallel/kernels/peak.h"

namespace moetrain {
namespace {

constexpr double kReach = 16;        // of rank_around, in bounds
constexpr int64_t kFewChoices = 64;  // for more, sorting is quicker than inserting

bool is_before(const Claim& a, const Claim& b) { return a.value != b.value ? a.value > b.value : a.order < b.order; }
bool is_earlier(const Claim& a, const Claim& b) { return a.order < b.order; }

/// @pre above is not the smaller. Equal infinities have no difference and are equal; others are apart.
bool joined(const Claim& above, const Claim& below, double bound) {
  const double gap = above.value - below.value;
  return above.value == below.value ||
         (std::isfinite(gap) && gap <= bound * std::max(above.magnitude, below.magnitude));
}

/// NaN has no place in an order.
double ordered(double value) { return std::isnan(value) ? -std::numeric_limits<double>::infinity() : value; }

/// Orders each class of sorted claims.
void order_classes(std::span<Claim> sorted, double bound) {
  auto begin = sorted.begin();
  while (begin != sorted.end()) {
    auto end = std::next(begin);
    while (end != sorted.end() && joined(*std::prev(end), *end, bound)) ++end;
    std::sort(begin, end, is_earlier);
    begin = end;
  }
}

using Place = std::span<Claim>::iterator;

/// The first place of [first, last) that is furthest below the one before it; last where there is none.
Place widest_gap(Place first, Place last) {
  const auto gap = [](Place place) { return std::prev(place)->value - place->value; };
  Place widest = first;
  for (Place place = first; place != last; ++place) {
    if (gap(place) > gap(widest)) widest = place;
  }
  return widest;
}

/// The k largest of a row by bits alone, and the one after them, into `first`.
void take_first(std::span<const Claim> row, size_t k, std::vector<Claim>& first) {
  first.clear();
  for (const Claim& each : row) {
    if (first.size() > k && !is_before(each, first.back())) continue;
    if (first.size() > k) first.pop_back();
    first.insert(std::upper_bound(first.begin(), first.end(), each, is_before), each);
  }
}

/// [T, E] on the CPU, both of one type.
template <class Scalar>
void largest_k_rows(const at::Tensor& value_TE, const at::Tensor& magnitude_TE, double bound, at::Tensor& chosen_TK) {
  const int64_t tokens = value_TE.size(0), experts = value_TE.size(1), k = chosen_TK.size(1);
  const Scalar* value = value_TE.const_data_ptr<Scalar>();
  const Scalar* magnitude = magnitude_TE.const_data_ptr<Scalar>();
  int64_t* chosen = chosen_TK.mutable_data_ptr<int64_t>();
  std::vector<Claim> row(static_cast<size_t>(experts)), first;
  for (int64_t t = 0; t < tokens; ++t, value += experts, magnitude += experts) {
    for (int64_t e = 0; e < experts; ++e) row[static_cast<size_t>(e)] = {ordered(value[e]), magnitude[e], e};
    bool apart = k <= kFewChoices;
    if (apart) take_first(row, static_cast<size_t>(k), first);
    for (size_t i = 1; apart && i < first.size(); ++i) apart = !joined(first[i - 1], first[i], bound);
    if (!apart) rank(row, bound);
    const std::vector<Claim>& best = apart ? first : row;
    for (int64_t j = 0; j < k; ++j) *chosen++ = best[static_cast<size_t>(j)].order;
  }
}

at::Tensor largest_k_by_kernel(const parallel::DeviceKernels& kernels, const Graded& graded, int64_t k) {
  const at::Tensor value = graded.value_TE.contiguous(), magnitude = graded.magnitude_TE.contiguous();
  at::Tensor chosen_TK = at::empty({value.size(0), k}, value.options().dtype(at::kLong));
  parallel::check_internal(magnitude.scalar_type() == value.scalar_type() && magnitude.sizes() == value.sizes(),
                           "largest_k: magnitudes of type ", magnitude.scalar_type(), " and shape ", magnitude.sizes());
  parallel::call(kernels.largest_k,
                 {.element = parallel::element_of(value),
                  .rows = value.size(0),
                  .columns = value.size(1),
                  .k = k,
                  .value = value.const_data_ptr(),
                  .magnitude = magnitude.const_data_ptr(),
                  .bound = graded.bound,
                  .chosen = chosen_TK.mutable_data_ptr<int64_t>()},
                 value.device());
  return chosen_TK;
}

}  // namespace

double tie_bound(at::ScalarType computed_in) { return computed_in == at::kDouble ? 0x1p-30 : 0x1p-18; }

Graded by_ratio(const at::Tensor& value_TE) { return {value_TE, value_TE.abs(), tie_bound(value_TE.scalar_type())}; }

Graded by_difference(const at::Tensor& value_TE, at::ScalarType computed_in) {
  return {value_TE, value_TE.abs().clamp_min(1), tie_bound(computed_in)};
}

at::Tensor largest_k(const Graded& graded, int64_t k) {
  const at::Tensor& value_TE = graded.value_TE;
  parallel::check_internal(1 <= k && k <= value_TE.size(1), "largest_k: ", k, " of ", value_TE.size(1));
  const parallel::DeviceKernels* kernels = parallel::kernels_of(value_TE.device());
  if (kernels != nullptr && value_TE.size(1) <= parallel::kMostRanked) return largest_k_by_kernel(*kernels, graded, k);
  if (parallel::is_accelerator(value_TE.device())) return largest_k_by_sorting(graded, k);
  at::Tensor chosen_TK = at::empty({value_TE.size(0), k}, at::kLong);
  AT_DISPATCH_FLOATING_TYPES(value_TE.scalar_type(), "largest_k", [&] {
    largest_k_rows<scalar_t>(value_TE.contiguous(), graded.magnitude_TE.contiguous(), graded.bound, chosen_TK);
  });
  return chosen_TK;
}

int64_t largest_by_difference(const at::Tensor& value_V, at::ScalarType computed_in) {
  if (parallel::has_wide_loops(value_V) && value_V.is_contiguous()) {
    int64_t found = -1;
    AT_DISPATCH_FLOATING_TYPES(value_V.scalar_type(), "largest_by_difference", [&] {
      const scalar_t* value = value_V.const_data_ptr<scalar_t>();
      const int64_t count = value_V.numel();
      const auto [largest, finite] = parallel::peak_of(value, count);
      // Wider than what joins: of a large negative one the magnitude of the other counts, and the sum is rounded.
      const double reach = 4 * tie_bound(computed_in) * std::max(1.0, std::abs(static_cast<double>(largest)));
      const auto least = static_cast<scalar_t>(static_cast<double>(largest) - reach);
      if (finite && parallel::count_from(value, count, least) == 1) {
        found = std::find(value, value + count, largest) - value;
      }
    });
    if (found >= 0) return found;
  }
  const at::Tensor wide_1V = value_V.to(at::kCPU, at::kDouble).unsqueeze(0);
  return largest_k(by_difference(wide_1V, computed_in), 1).item<int64_t>();
}

at::Tensor largest_k_by_sorting(const Graded& graded, int64_t k) {
  const at::Tensor& value_TE = graded.value_TE;
  const int64_t experts = value_TE.size(1);
  const at::Tensor known_TE =
      value_TE.nan_to_num(-std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity(),
                          -std::numeric_limits<double>::infinity());
  const auto [sorted_TE, index_TE] = at::sort(known_TE, /*stable=*/true, /*dim=*/1, /*descending=*/true);
  const at::Tensor size_TE = graded.magnitude_TE.gather(1, index_TE);
  const auto above = [&](const at::Tensor& all) { return all.narrow(1, 0, experts - 1); };
  const auto below = [&](const at::Tensor& all) { return all.narrow(1, 1, experts - 1); };
  const at::Tensor gap = above(sorted_TE) - below(sorted_TE);
  const at::Tensor near =
      (gap <= graded.bound * at::maximum(above(size_TE), below(size_TE))).logical_and(gap.isfinite());
  const at::Tensor apart = near.logical_or(above(sorted_TE) == below(sorted_TE)).logical_not();
  const at::Tensor class_TE = at::constant_pad_nd(apart.to(at::kLong).cumsum(1), {1, 0});
  return std::get<0>(at::sort(class_TE * experts + index_TE, 1)).narrow(1, 0, k).remainder(experts);
}

void rank(std::span<Claim> claims, double bound) {
  for (Claim& claim : claims) claim.value = ordered(claim.value);
  std::sort(claims.begin(), claims.end(), is_before);
  order_classes(claims, bound);
}

void rank_around(std::span<Claim> claims, int64_t count, double bound) {
  if (count <= 0 || count >= static_cast<int64_t>(claims.size())) return;
  for (Claim& claim : claims) claim.value = ordered(claim.value);
  const auto cut = claims.begin() + count;
  std::nth_element(claims.begin(), cut, claims.end(), is_before);
  // What is within reach comes to stand around the cut, sorted.
  const auto within = [bound, of = *cut](double bounds, const Claim& each) {
    return each.value == of.value ||
           std::abs(each.value - of.value) <= bounds * bound * std::max(each.magnitude, of.magnitude);
  };
  const auto within_reach = [&](const Claim& each) { return within(kReach, each); };
  const auto top = std::partition(claims.begin(), cut, std::not_fn(within_reach));
  const auto bottom = std::partition(cut, claims.end(), within_reach);
  std::sort(top, bottom, is_before);
  const auto near = [bound](Place place) { return joined(*std::prev(place), *place, bound); };
  auto begin = cut, end = cut;  // of the class that holds the last one before the cut and the first one behind it
  while (begin != top && near(begin)) --begin;
  while (end != bottom && near(end)) ++end;
  // A class that comes within a bound of the reach may go on behind it.
  if (begin == top && !within(kReach - 1, *begin)) begin = widest_gap(std::next(top), std::next(cut));
  if (end == bottom && !within(kReach - 1, *std::prev(end))) end = widest_gap(cut, bottom);
  if (begin < cut && cut < end) std::sort(begin, end, is_earlier);
}

}  // namespace moetrain
