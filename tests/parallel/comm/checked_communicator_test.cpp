#include "parallel/comm/checked_communicator.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <thread>

#include "parallel/base/fault.h"
#include "parallel/comm/local_communicator.h"
#include "tests/support/world.h"

namespace parallel {
namespace {

/// A group of all ranks that a test may break. Collective.
std::shared_ptr<Communicator> fresh(const std::string& purpose) {
  return checked(test_mpi_world()->duplicate(), purpose);
}

int64_t last_rank() { return test_mpi_world()->size() - 1; }
bool on_last() { return test_mpi_world()->rank() == last_rank(); }

/// "ranks 0, 1" of three, "rank 0" of two: all but the last.
std::string other_ranks() { return last_rank() == 1 ? "rank 0" : "ranks 0, 1"; }

std::string fault_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const InternalError& error) {
    return error.what();
  }
  return "no fault";
}

void reduce(Communicator& group, at::IntArrayRef shape, at::ScalarType type, ReduceOp op = ReduceOp::kSum) {
  group.all_reduce(at::ones(shape, type), op).wait();
}

void gather(Communicator& group, at::IntArrayRef shape, at::ScalarType type) {
  const at::Tensor part = at::ones(shape, type);
  group.all_gather(at::empty_like(at::stack(std::vector<at::Tensor>(static_cast<size_t>(group.size()), part))), part)
      .wait();
}

using Action = std::function<void(Communicator&)>;

/// After two agreed calls the last rank does `odd` and the others `even`: all get one error of these two clauses, told
/// again by whatever the group is asked for next.
void expect_disagreement(const Action& even, const std::string& even_words, const Action& odd,
                         const std::string& odd_words) {
  if (last_rank() == 0) return even(*fresh("tokens"));  // alone nobody disagrees
  const auto group = fresh("tokens");
  reduce(*group, {3}, at::kLong);
  gather(*group, {2}, at::kFloat);
  const std::string fault = fault_of([&] { (on_last() ? odd : even)(*group); });
  EXPECT_EQ(fault.find("group 'tokens': the ranks disagree: "), 0u) << fault;
  EXPECT_NE(fault.find(concat("rank ", last_rank(), " called ", odd_words, " as call 3")), std::string::npos) << fault;
  EXPECT_NE(fault.find(other_ranks() + " called " + even_words + " as call 3"), std::string::npos) << fault;
  EXPECT_EQ(fault_of([&] { reduce(*group, {1}, at::kLong); }), fault);
  EXPECT_EQ(fault_of([&] { (void)group->duplicate(); }), fault);
}

TEST(CheckedCommunicator, ResultsAreThoseOfTheWrappedBitForBit) {
  const auto plain = test_mpi_world()->duplicate(), checks = fresh("tokens");
  const int64_t rank = plain->rank(), size = plain->size();
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kLong}) {
    for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kMax}) {
      const at::Tensor values = ((at::arange(4099, at::kDouble) + 1000.0 * static_cast<double>(rank)).sin() * 1e6 / 7);
      at::Tensor expected = values.to(type, false, true), tensor = expected.clone();
      plain->all_reduce(expected, op).wait();
      checks->all_reduce(tensor, op).wait();
      EXPECT_TRUE(tensor.equal(expected)) << type;
      at::Tensor gathered = at::zeros({size, 4099}, type), wanted = gathered.clone();
      plain->all_gather(wanted, values.to(type)).wait();
      checks->all_gather(gathered, values.to(type)).wait();
      EXPECT_TRUE(gathered.equal(wanted)) << type;
    }
  }
}

TEST(CheckedCommunicator, DisagreeingOperations) {
  expect_disagreement([](Communicator& g) { reduce(g, {8}, at::kLong); }, "all_reduce sum int64 [8]",
                      [](Communicator& g) {
                        gather(g, {3, 4}, at::kFloat);
                      },
                      "all_gather float32 [3, 4]");
}

TEST(CheckedCommunicator, DisagreeingShapes) {
  expect_disagreement([](Communicator& g) { reduce(g, {8}, at::kLong); }, "all_reduce sum int64 [8]",
                      [](Communicator& g) {
                        reduce(g, {2, 4}, at::kLong);
                      },
                      "all_reduce sum int64 [2, 4]");
  expect_disagreement([](Communicator& g) { gather(g, {}, at::kLong); }, "all_gather int64 []",
                      [](Communicator& g) { gather(g, {1}, at::kLong); }, "all_gather int64 [1]");
  const std::vector<int64_t> many(9, 1), more{1, 1, 1, 1, 1, 1, 1, 1, 2};
  expect_disagreement([&](Communicator& g) { reduce(g, many, at::kLong); },
                      "all_reduce sum int64 [1, 1, 1, 1, 1, 1, 1, 1, ... of 9 dims, 1 elements]",
                      [&](Communicator& g) { reduce(g, more, at::kLong); },
                      "all_reduce sum int64 [1, 1, 1, 1, 1, 1, 1, 1, ... of 9 dims, 2 elements]");
}

TEST(CheckedCommunicator, DisagreeingTypes) {
  expect_disagreement([](Communicator& g) { reduce(g, {8}, at::kDouble); }, "all_reduce sum float64 [8]",
                      [](Communicator& g) { reduce(g, {8}, at::kFloat); }, "all_reduce sum float32 [8]");
}

TEST(CheckedCommunicator, DisagreeingReduceOps) {
  expect_disagreement([](Communicator& g) { reduce(g, {8}, at::kFloat); }, "all_reduce sum float32 [8]",
                      [](Communicator& g) { reduce(g, {8}, at::kFloat, ReduceOp::kMax); },
                      "all_reduce max float32 [8]");
}

TEST(CheckedCommunicator, TensorThatOneRankRefusesIsADisagreement) {
  expect_disagreement(
      [](Communicator& g) {
        reduce(g, {4, 4}, at::kFloat);
      },
      "all_reduce sum float32 [4, 4]",
      [](Communicator& g) {
        g.all_reduce(at::ones({4, 4}).t(), ReduceOp::kSum).wait();
      },
      "all_reduce sum float32 [4, 4] (a tensor that communicators refuse)");
}

TEST(CheckedCommunicator, MakingAGroupIsACallToo) {
  expect_disagreement([](Communicator& g) { (void)g.duplicate(); }, "duplicate",
                      [](Communicator& g) { (void)g.split(0, 0); }, "split");
}

TEST(CheckedCommunicator, TensorThatAllRefuseLeavesTheGroupUsable) {
  const auto group = fresh("tokens");
  EXPECT_THROW((void)group->all_reduce(at::ones({4, 4}).t(), ReduceOp::kSum), InternalError);
  at::Tensor one = at::ones({1}, at::kLong);
  group->all_reduce(one, ReduceOp::kSum).wait();
  EXPECT_EQ(one.item<int64_t>(), group->size());
}

// The last rank lets the groups change places: on both a fault, on every rank.
TEST(CheckedCommunicator, CallsThatChangeGroupsFailOnBoth) {
  const auto tokens = fresh("tokens"), gradients = fresh("gradients");
  at::Tensor counts = at::ones({8}, at::kLong), bucket = at::ones({100}, at::kFloat);
  Communicator& first = on_last() ? *gradients : *tokens;
  Communicator& second = on_last() ? *tokens : *gradients;
  Work a = first.all_reduce(counts, ReduceOp::kSum), b = second.all_reduce(bucket, ReduceOp::kSum);
  const std::string fault_a = fault_of([&] { a.wait(); }), fault_b = fault_of([&] { b.wait(); });
  if (last_rank() == 0) {
    EXPECT_EQ(fault_a + fault_b, "no faultno fault");
    return;
  }
  const std::string small = " called all_reduce sum int64 [8] as call 1";
  const std::string large = " called all_reduce sum float32 [100] as call 1", odd = concat("rank ", last_rank());
  const std::string of_tokens = on_last() ? fault_b : fault_a, of_gradients = on_last() ? fault_a : fault_b;
  EXPECT_EQ(of_tokens, "group 'tokens': the ranks disagree: " + odd + large + "; " + other_ranks() + small);
  EXPECT_EQ(of_gradients, "group 'gradients': the ranks disagree: " + other_ranks() + large + "; " + odd + small);
}

TEST(CheckedCommunicator, GroupsMadeInAnotherOrderDifferInPurpose) {
  const auto group = fresh(on_last() ? "gradients" : "tokens");
  const std::string fault = fault_of([&] { reduce(*group, {8}, at::kLong); });
  if (last_rank() == 0) {
    EXPECT_EQ(fault, "no fault");
    return;
  }
  const std::string call = " called all_reduce sum int64 [8] as call 1 of group ";
  EXPECT_EQ(fault,
            concat("the ranks disagree: rank ", last_rank(), call, "'gradients'; ", other_ranks(), call, "'tokens'"));
}

TEST(CheckedCommunicator, OverlappingOperationsOfGroupsInAnyOrder) {
  const auto tokens = fresh("tokens"), gradients = fresh("gradients");
  const double size = static_cast<double>(tokens->size());
  for (int round = 0; round < 20; ++round) {
    at::Tensor here = at::ones({1 << 16}, at::kDouble), there = at::full({1 << 16}, 2.0, at::kDouble);
    Communicator& first = on_last() ? *gradients : *tokens;
    Communicator& second = on_last() ? *tokens : *gradients;
    Work a = first.all_reduce(on_last() ? there : here, ReduceOp::kSum);
    Work b = second.all_reduce(on_last() ? here : there, ReduceOp::kSum);
    round % 2 == 0 ? a.wait() : b.wait();
    round % 2 == 0 ? b.wait() : a.wait();
    EXPECT_TRUE(here.equal(at::full({1 << 16}, size, at::kDouble)));
    EXPECT_TRUE(there.equal(at::full({1 << 16}, 2 * size, at::kDouble)));
  }
}

TEST(CheckedCommunicator, OperationsOfOneGroupOverlapAndGoOnWhileNobodyWaits) {
  const auto group = fresh("tokens");
  const at::Tensor expected = at::full({1 << 16}, static_cast<double>(group->size()), at::kDouble);
  at::Tensor first = at::ones({1 << 16}, at::kDouble), second = first.clone();
  Work a = group->all_reduce(first, ReduceOp::kSum), b = group->all_reduce(second, ReduceOp::kSum);
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_TRUE(first.equal(expected));
  EXPECT_TRUE(second.equal(expected));
  b.wait();
  a.wait();
}

// Calls behind the disagreement are never issued, so that waiting for them, or dropping them, does not hang.
TEST(CheckedCommunicator, OutstandingCallsBehindADisagreementFailToo) {
  const auto group = fresh("tokens");
  at::Tensor good = at::ones({5}, at::kLong), odd = at::ones({on_last() ? 3 : 4}, at::kLong);
  Work before = group->all_reduce(good, ReduceOp::kSum), wrong = group->all_reduce(odd, ReduceOp::kSum);
  Work behind = group->all_reduce(at::ones({5}, at::kLong), ReduceOp::kSum);
  { const Work dropped = group->all_reduce(at::ones({5}, at::kLong), ReduceOp::kSum); }
  const std::string fault = fault_of([&] { behind.wait(); });
  EXPECT_EQ(fault_of([&] { wrong.wait(); }), fault);
  EXPECT_EQ(fault == "no fault", last_rank() == 0);
  before.wait();
  EXPECT_TRUE(good.equal(at::full({5}, group->size(), at::kLong)));
}

TEST(CheckedCommunicator, DuplicateAndSplitAreCheckedToo) {
  const auto group = fresh("tokens");
  const auto copy = group->duplicate(), part = group->split(0, -group->rank());
  EXPECT_EQ(part->rank(), last_rank() - group->rank());
  if (last_rank() == 0) return;
  const auto fault = [](Communicator& made) { return fault_of([&] { reduce(made, {on_last() ? 1 : 2}, at::kLong); }); };
  EXPECT_EQ(fault(*copy).find("group 'tokens.1': the ranks disagree: "), 0u);
  EXPECT_EQ(fault(*part).find("group 'tokens.2': the ranks disagree: "), 0u);
  reduce(*group, {1}, at::kLong);  // what happens to those leaves this one alone
}

TEST(CheckedCommunicator, UnwrappedIsTheCommunicatorBelow) {
  const auto plain = test_mpi_world()->duplicate();
  EXPECT_EQ(&unwrapped(*plain), plain.get());
  EXPECT_EQ(&unwrapped(*checked(plain, "tokens")), plain.get());
}

TEST(CheckedCommunicator, ControlChannelOfOtherRanksIsTheLibrarysFault) {
  const auto group = test_mpi_world()->duplicate();
  if (last_rank() == 0) return;
  EXPECT_THROW(CheckedCommunicator(group, std::make_shared<LocalCommunicator>(), "tokens"), InternalError);
}

}  // namespace
}  // namespace parallel
