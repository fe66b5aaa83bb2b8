#include "parallel/comm/mpi_communicator.h"

#include <ATen/ATen.h>
#include <mpi.h>

#include <algorithm>
#include <array>
#include <functional>
#include <limits>
#include <utility>
#include <vector>

#include "parallel/base/even_part.h"
#include "parallel/base/fault.h"
#include "parallel/process/mpi_check.h"

namespace parallel {
namespace {

constexpr int64_t kInParts = 32768;                  // [byte] below that MPI's own all-reduce has fewer messages
constexpr int64_t kLargestCount = int64_t{1} << 30;  // MPI counts are int

static_assert(sizeof(MPI_Comm) <= sizeof(void*), "a communicator is carried as an opaque pointer");

MPI_Comm to_comm(void* native) { return reinterpret_cast<MPI_Comm>(native); }
void* to_opaque(MPI_Comm comm) { return reinterpret_cast<void*>(comm); }

MPI_Datatype to_datatype(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return MPI_FLOAT;
    case at::kDouble:
      return MPI_DOUBLE;
    case at::kLong:
      return MPI_INT64_T;
    default:
      throw InternalError(concat("MpiCommunicator: no MPI type for ", tensor.scalar_type()));
  }
}

/// Counts and displacements of MPI are int: here in units of rows.
struct RowLayout {
  explicit RowLayout(const RowCounts& rows, int64_t unit = 1) {
    int64_t place = 0;
    for (const int64_t count : rows) {
      counts.push_back(checked_int(count * unit));
      places.push_back(checked_int(place * unit));
      place += count;
    }
  }
  static int checked_int(int64_t value) {
    check_internal(value <= std::numeric_limits<int>::max(), "MpiCommunicator: ", value, " rows are too many");
    return static_cast<int>(value);
  }
  std::vector<int> counts, places;
};

/// One row as an MPI type. Freed at the end of the scope, which operations under way survive.
struct RowType {
  explicit RowType(int64_t bytes) {
    check_internal(0 < bytes && bytes <= std::numeric_limits<int>::max(), "MpiCommunicator: rows of ", bytes, " bytes");
    check_mpi(MPI_Type_contiguous(static_cast<int>(bytes), MPI_BYTE, &type), "MPI_Type_contiguous");
    check_mpi(MPI_Type_commit(&type), "MPI_Type_commit");
  }
  ~RowType() { MPI_Type_free(&type); }
  RowType(const RowType&) = delete;
  RowType& operator=(const RowType&) = delete;
  MPI_Datatype type = MPI_DATATYPE_NULL;
};

void check_on_cpu(const at::Tensor& tensor) {
  check_internal(tensor.device().is_cpu(), "MpiCommunicator: tensor of shape ", tensor.sizes(), " on ", tensor.device(),
                 " must be on the CPU");
}

/// `kept`: what MPI reads while the operation is under way (counts, displacements).
class MpiWork : public WorkState {
 public:
  explicit MpiWork(std::shared_ptr<PendingOperation> operation, std::vector<std::shared_ptr<const RowLayout>> kept = {})
      : operation_(std::move(operation)), kept_(std::move(kept)) {}
  void wait() override { operation_->wait(); }
  bool done() override { return operation_->done(); }
  std::optional<WorkSpan> span() override {
    const auto [begin, end] = operation_->span();
    return WorkSpan{begin, end};
  }

 private:
  std::shared_ptr<PendingOperation> operation_;
  std::vector<std::shared_ptr<const RowLayout>> kept_;
};

std::function<bool()> ready_after(const After& after) {
  if (!after) return {};
  return [after] { return after->done(); };
}

/// In one sweep over all of them: the memory that two ranks share is what a reduction waits for. target may be one of
/// `parts`.
template <class Element>
void reduce_into(const at::Tensor& target, const std::vector<at::Tensor>& parts, ReduceOp op) {
  constexpr int64_t kBlock = 1024;
  std::array<Element, kBlock> reduced;
  std::vector<const Element*> from;
  for (const at::Tensor& part : parts) from.push_back(part.const_data_ptr<Element>());
  Element* const to = target.mutable_data_ptr<Element>();
  for (int64_t begin = 0; begin < target.numel(); begin += kBlock) {
    const int64_t count = std::min(kBlock, target.numel() - begin);
    std::copy_n(from.front() + begin, count, reduced.data());
    for (size_t r = 1; r < from.size(); ++r) {
      const auto with_each = [into = reduced.data(), block = from[r] + begin, count](const auto& reduced_with) {
        for (int64_t i = 0; i < count; ++i) into[i] = reduced_with(into[i], block[i]);
      };
      op == ReduceOp::kSum ? with_each(std::plus<>()) : with_each([](Element a, Element b) { return std::max(a, b); });
    }
    std::copy_n(reduced.data(), count, to + begin);
  }
}

/// Of a tensor that every rank has: each rank gets its part of all of them, its own where it lies. Used on the engine's
/// thread.
class PartExchange {
 public:
  PartExchange(at::Tensor whole, const RowCounts& parts, size_t own, MPI_Datatype type, MPI_Comm comm)
      : whole_(std::move(whole)), type_(type), comm_(comm), to_(parts), from_(RowCounts(parts.size(), parts[own])) {
    arrived_RN_ = at::empty({std::ssize(parts) - 1, parts[own]}, whole_.options());
    for (int64_t r = 0, row = 0; r < std::ssize(parts); ++r) {
      const auto rank = static_cast<size_t>(r);
      from_.places[rank] = RowLayout::checked_int(row * parts[own]);
      parts_.push_back(rank == own ? whole_.narrow(0, to_.places[own], parts[own]) : arrived_RN_[row++]);
    }
    to_.counts[own] = from_.counts[own] = 0;
  }

  MpiEngine::Requests start() const {
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Ialltoallv(whole_.data_ptr(), to_.counts.data(), to_.places.data(), type_, arrived_RN_.data_ptr(),
                             from_.counts.data(), from_.places.data(), type_, comm_, &request),
              "MPI_Ialltoallv");
    return {request};
  }

  /// In the order of ranks, whoever reduces.
  void reduce(const at::Tensor& target, ReduceOp op) const {
    switch (whole_.scalar_type()) {
      case at::kFloat:
        return reduce_into<float>(target, parts_, op);
      case at::kDouble:
        return reduce_into<double>(target, parts_, op);
      default:
        return reduce_into<int64_t>(target, parts_, op);
    }
  }

 private:
  at::Tensor whole_;
  MPI_Datatype type_;
  MPI_Comm comm_;
  RowLayout to_, from_;
  at::Tensor arrived_RN_;  // of all ranks but this one
  std::vector<at::Tensor> parts_;
};

}  // namespace

MpiCommunicator::MpiCommunicator(MpiEngine& engine, void* native) : engine_(engine), native_(native) {
  engine_.run([&] {
    int rank = 0, size = 1;
    check_mpi(MPI_Comm_rank(to_comm(native_), &rank), "MPI_Comm_rank");
    check_mpi(MPI_Comm_size(to_comm(native_), &size), "MPI_Comm_size");
    check_mpi(MPI_Comm_set_errhandler(to_comm(native_), MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    rank_ = rank;
    size_ = size;
  });
}

MpiCommunicator::~MpiCommunicator() {
  // While an exception unwinds the other ranks do not come to free theirs, and freeing may communicate.
  if (std::uncaught_exceptions() > 0) return;
  try {
    engine_.run([&] {
      MPI_Comm comm = to_comm(native_);
      MPI_Comm_free(&comm);
    });
  } catch (...) {
  }
}

Work MpiCommunicator::all_reduce(at::Tensor tensor, ReduceOp op) {
  check_reducible(tensor);
  check_on_cpu(tensor);
  if (size_ > 1 && static_cast<int64_t>(tensor.nbytes()) >= kInParts) return all_reduce_in_parts(std::move(tensor), op);
  const MPI_Datatype type = to_datatype(tensor);
  const MPI_Op mpi_op = op == ReduceOp::kSum ? MPI_SUM : MPI_MAX;
  auto operation = engine_.post(
      [=, comm = to_comm(native_), data = tensor.data_ptr(), count = static_cast<int>(tensor.numel())] {
        MPI_Request request = MPI_REQUEST_NULL;
        check_mpi(MPI_Iallreduce(MPI_IN_PLACE, data, count, type, mpi_op, comm, &request), "MPI_Iallreduce");
        return MpiEngine::Requests{request};
      },
      {.communicator = native_, .lane = lane_});
  return {std::make_unique<MpiWork>(std::move(operation)), {std::move(tensor)}};
}

/// Open MPI's MPI_Iallreduce in place, and its MPI_Ireduce_scatter, send the whole up a tree and down again. Here every
/// rank gets its part of all ranks' tensors, adds them up in the order of ranks, and hands the result round: each byte
/// crosses the wire twice less a share, in both directions at once.
Work MpiCommunicator::all_reduce_in_parts(at::Tensor tensor, ReduceOp op) {
  const at::Tensor flat = tensor.view({-1});
  RowCounts parts;
  for (int64_t r = 0; r < size_; ++r) parts.push_back(even_part(flat.numel(), r, size_).count);
  const auto own = static_cast<size_t>(rank_);
  const auto layout = std::make_shared<const RowLayout>(parts);
  const auto exchange = std::make_shared<const PartExchange>(flat, parts, own, to_datatype(tensor), to_comm(native_));
  const at::Tensor target = flat.narrow(0, even_part(flat.numel(), rank_, size_).begin, parts[own]);
  const auto hand_round = [=, comm = to_comm(native_), type = to_datatype(tensor)] {
    exchange->reduce(target, op);
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Iallgatherv(MPI_IN_PLACE, 0, type, flat.data_ptr(), layout->counts.data(), layout->places.data(),
                              type, comm, &request),
              "MPI_Iallgatherv");
    return MpiEngine::Requests{request};
  };
  auto operation = engine_.post([exchange] { return exchange->start(); },
                                {.communicator = native_, .lane = lane_, .then = hand_round});
  return {std::make_unique<MpiWork>(std::move(operation), std::vector{layout}), {std::move(tensor)}};
}

Work MpiCommunicator::all_gather(at::Tensor gathered, at::Tensor part) {
  check_gatherable(gathered, part, size_);
  check_on_cpu(gathered);
  check_on_cpu(part);
  check_internal(part.numel() <= kLargestCount, "all_gather: part of ", part.numel(), " elements is too long");
  const MPI_Datatype type = to_datatype(part);
  const int count = static_cast<int>(part.numel());
  auto operation = engine_.post(
      [=, comm = to_comm(native_), from = part.data_ptr(), to = gathered.data_ptr()] {
        MPI_Request request = MPI_REQUEST_NULL;
        check_mpi(MPI_Iallgather(from, count, type, to, count, type, comm, &request), "MPI_Iallgather");
        return MpiEngine::Requests{request};
      },
      {.communicator = native_, .lane = lane_});
  return {std::make_unique<MpiWork>(std::move(operation)), {std::move(gathered), std::move(part)}};
}

Work MpiCommunicator::all_to_all(at::Tensor received, at::Tensor sent, const RowCounts& received_rows,
                                 const RowCounts& sent_rows, const After& after) {
  check_exchangeable(received, sent, received_rows, sent_rows, size_);
  check_on_cpu(received);
  const auto to = std::make_shared<const RowLayout>(sent_rows), from = std::make_shared<const RowLayout>(received_rows);
  auto operation = engine_.post(
      [=, comm = to_comm(native_), bytes = row_bytes(sent), source = sent.data_ptr(), target = received.data_ptr()] {
        const RowType row(bytes);
        MPI_Request request = MPI_REQUEST_NULL;
        check_mpi(MPI_Ialltoallv(source, to->counts.data(), to->places.data(), row.type, target, from->counts.data(),
                                 from->places.data(), row.type, comm, &request),
                  "MPI_Ialltoallv");
        return MpiEngine::Requests{request};
      },
      {.communicator = native_, .lane = lane_, .ready = ready_after(after)});
  return {std::make_unique<MpiWork>(std::move(operation), std::vector{to, from}),
          {std::move(received), std::move(sent)}};
}

Work MpiCommunicator::all_gather_rows(at::Tensor gathered, at::Tensor part, const RowCounts& rows, const After& after) {
  check_row_parts(gathered, part, rows, rank_, size_);
  check_on_cpu(gathered);
  const auto layout = std::make_shared<const RowLayout>(rows);
  const at::Tensor place = gathered.narrow(0, layout->places[static_cast<size_t>(rank_)], part.size(0));
  auto operation = engine_.post(
      [=, comm = to_comm(native_), own = RowLayout::checked_int(part.size(0)), bytes = row_bytes(part),
       source = place.data_ptr() == part.data_ptr() ? MPI_IN_PLACE : part.data_ptr(), target = gathered.data_ptr()] {
        const RowType row(bytes);
        MPI_Request request = MPI_REQUEST_NULL;
        check_mpi(MPI_Iallgatherv(source, own, row.type, target, layout->counts.data(), layout->places.data(), row.type,
                                  comm, &request),
                  "MPI_Iallgatherv");
        return MpiEngine::Requests{request};
      },
      {.communicator = native_, .lane = lane_, .ready = ready_after(after)});
  return {std::make_unique<MpiWork>(std::move(operation), std::vector{layout}), {std::move(gathered), std::move(part)}};
}

Work MpiCommunicator::reduce_scatter_rows(at::Tensor part, at::Tensor whole, const RowCounts& rows) {
  check_reducible(whole);
  check_row_parts(whole, part, rows, rank_, size_);
  check_on_cpu(whole);
  RowCounts elements;
  for (const int64_t count : rows) elements.push_back(count * row_bytes(whole) / whole.element_size());
  const auto exchange = std::make_shared<const PartExchange>(whole.view({-1}), elements, static_cast<size_t>(rank_),
                                                             to_datatype(whole), to_comm(native_));
  const auto reduce = [exchange, part] {
    exchange->reduce(part.view({-1}), ReduceOp::kSum);
    return MpiEngine::Requests{};
  };
  auto operation =
      engine_.post([exchange] { return exchange->start(); }, {.communicator = native_, .lane = lane_, .then = reduce});
  return {std::make_unique<MpiWork>(std::move(operation)), {std::move(part), std::move(whole)}};
}

std::shared_ptr<Communicator> MpiCommunicator::duplicate() {
  MPI_Comm copy = MPI_COMM_NULL;
  engine_.run([&] { check_mpi(MPI_Comm_dup(to_comm(native_), &copy), "MPI_Comm_dup"); });
  return std::make_shared<MpiCommunicator>(engine_, to_opaque(copy));
}

std::shared_ptr<Communicator> MpiCommunicator::split(int64_t color, int64_t key) {
  MPI_Comm part = MPI_COMM_NULL;
  engine_.run([&] {
    check_mpi(MPI_Comm_split(to_comm(native_), static_cast<int>(color), static_cast<int>(key), &part),
              "MPI_Comm_split");
  });
  return std::make_shared<MpiCommunicator>(engine_, to_opaque(part));
}

int64_t MpiCommunicator::host_rank() const {
  int rank = 0;
  engine_.run([&] {
    MPI_Comm host = MPI_COMM_NULL;
    check_mpi(MPI_Comm_split_type(to_comm(native_), MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host),
              "MPI_Comm_split_type");
    check_mpi(MPI_Comm_rank(host, &rank), "MPI_Comm_rank");
    check_mpi(MPI_Comm_free(&host), "MPI_Comm_free");
  });
  return rank;
}

std::vector<int64_t> MpiCommunicator::host_leaders() {
  int leader = 0;
  engine_.run([&] {
    MPI_Comm host = MPI_COMM_NULL;
    leader = static_cast<int>(rank_);
    check_mpi(MPI_Comm_split_type(to_comm(native_), MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host),
              "MPI_Comm_split_type");
    check_mpi(MPI_Bcast(&leader, 1, MPI_INT, 0, host), "MPI_Bcast");
    check_mpi(MPI_Comm_free(&host), "MPI_Comm_free");
  });
  at::Tensor leaders = at::empty({size_, 1}, at::kLong);
  all_gather(leaders, at::full({1}, int64_t{leader}, at::kLong)).wait();
  return {leaders.const_data_ptr<int64_t>(), leaders.const_data_ptr<int64_t>() + size_};
}

std::shared_ptr<MpiCommunicator> world_communicator(MpiEngine& engine) {
  MPI_Comm copy = MPI_COMM_NULL;
  engine.run([&] { check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &copy), "MPI_Comm_dup"); });
  return std::make_shared<MpiCommunicator>(engine, to_opaque(copy));
}

}  // namespace parallel
