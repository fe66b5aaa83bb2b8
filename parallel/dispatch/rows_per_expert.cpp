#include "parallel/dispatch/rows_per_expert.h"

#include <ATen/ATen.h>

#include <limits>
#include <numeric>
#include <optional>
#include <utility>

#include "parallel/base/fault.h"
#include "parallel/device/accelerator.h"

namespace parallel {

namespace {

constexpr int64_t kMostRows = std::numeric_limits<int32_t>::max();  // whose ends are int32

}  // namespace

struct RowsPerExpert::Known {
  std::optional<std::vector<int64_t>> on_host;
  at::Tensor end_E;  // undefined before anybody asked
  int64_t rows = 0;
  std::shared_ptr<Known> of;  // what these are `factor` times; null: themselves
  int64_t factor = 1;

  const std::vector<int64_t>& told() {
    if (on_host) return *on_host;
    if (of) {
      on_host = of->told();
      for (int64_t& each : *on_host) each *= factor;
      return *on_host;
    }
    const at::Tensor host_E = fetch({end_E})[0];
    const int32_t* end = host_E.const_data_ptr<int32_t>();
    on_host.emplace(end, end + host_E.numel());
    std::adjacent_difference(on_host->begin(), on_host->end(), on_host->begin());
    return *on_host;
  }
};

RowsPerExpert::RowsPerExpert(std::vector<int64_t> on_host) : known_(std::make_shared<Known>()) {
  known_->rows = std::accumulate(on_host.begin(), on_host.end(), int64_t{0});
  known_->on_host = std::move(on_host);
}

RowsPerExpert::RowsPerExpert(at::Tensor end_E, int64_t rows) : known_(std::make_shared<Known>()) {
  check_internal(end_E.dim() == 1 && end_E.scalar_type() == at::kInt, "RowsPerExpert: ends of shape ", end_E.sizes(),
                 " and type ", end_E.scalar_type());
  if (rows == 0) known_->on_host.emplace(static_cast<size_t>(end_E.numel()), 0);  // nothing to ask
  known_->end_E = std::move(end_E);
  known_->rows = rows;
}

int64_t RowsPerExpert::experts() const {
  return known_->on_host ? std::ssize(*known_->on_host) : known_->end_E.numel();
}

bool RowsPerExpert::known() const { return known_->on_host.has_value(); }

int64_t RowsPerExpert::rows() const { return known_->rows; }

const std::vector<int64_t>& RowsPerExpert::on_host() const { return known_->told(); }

at::Tensor RowsPerExpert::ends(at::Device device) const {
  if (!known_->end_E.defined()) {
    check_internal(known_->rows <= kMostRows, "RowsPerExpert: ", known_->rows, " rows, and a grouped product takes ",
                   kMostRows);
    const at::Tensor end_E = at::empty({experts()}, at::kInt);
    std::partial_sum(known_->on_host->begin(), known_->on_host->end(), end_E.mutable_data_ptr<int32_t>());
    known_->end_E = send(end_E, device);
  }
  check_internal(known_->end_E.device() == device, "RowsPerExpert: ends on ", known_->end_E.device(), ", not ", device);
  return known_->end_E;
}

RowsPerExpert RowsPerExpert::times(int64_t factor) const {
  const auto all = std::make_shared<Known>();
  all->rows = known_->rows * factor;
  all->of = known_;
  all->factor = factor;
  if (known()) {
    all->told();
  } else {
    check_internal(all->rows <= kMostRows, "RowsPerExpert: ", all->rows, " rows, at most ", kMostRows);
    all->end_E = known_->end_E * factor;
  }
  RowsPerExpert result;
  result.known_ = all;
  return result;
}

}  // namespace parallel
