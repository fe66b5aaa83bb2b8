#include "launch/profiles/machine_file.h"

#include <gtest/gtest.h>

#include "parallel/base/fault.h"
#include "parallel/schedule/test_beds.h"
#include "tests/launch/planning/planning_support.h"

namespace {

using launch::Machine;
using launch::MachineLine;
using launch::parse_machine;

std::string fault_of(const std::string& from, const std::string& to) {
  std::string text = kSmallMachine;
  text.replace(text.find(from), from.size(), to);
  try {
    parse_machine(text, "small.toml");
  } catch (const parallel::UserError& error) {
    return error.what();
  }
  return "none";
}

void expect_refused(const std::string& from, const std::string& to, const std::vector<std::string>& words) {
  const std::string fault = fault_of(from, to);
  for (const std::string& word : words) EXPECT_NE(fault.find(word), std::string::npos) << to << ": " << fault;
}

TEST(MachineFile, IsRead) {
  const Machine machine = small_machine();
  EXPECT_EQ(machine.name, "small");
  EXPECT_EQ(machine.ranks_per_host, 4);
  EXPECT_EQ(machine.memory_bytes(), 1073741824.0);
  EXPECT_EQ(machine.multiply("float32").beta, 1e-11);
  EXPECT_EQ(machine.inside.all_reduce.beta, 2e-10);
  EXPECT_FALSE(machine.between.all_gather.given());
  EXPECT_FALSE(machine.sweep.given());
}

TEST(MachineFile, IsWrittenAsItIsRead) {
  Machine machine = small_machine();
  machine.sweep = {.alpha = 0, .beta = 3.25e-11};
  machine.link_contention = 0.5;
  const std::string text = to_text(machine);
  EXPECT_EQ(text.find("bf16"), std::string::npos) << "is not given";
  const Machine again = parse_machine(text, "again.toml");
  EXPECT_EQ(again.name, "small");
  EXPECT_EQ(again.ranks_per_host, 4);
  EXPECT_EQ(again.sweep.beta, 3.25e-11);
  EXPECT_EQ(again.link_contention, 0.5);
  EXPECT_EQ(again.between.all_reduce.beta, machine.between.all_reduce.beta);
  EXPECT_EQ(to_text(again), text);
}

TEST(MachineFile, NonsenseIsRefusedWithItsPlace) {
  expect_refused("float32_beta = 1e-11", "float32_beta = -1e-11",
                 {"small.toml:8", "multiply.float32_beta", "-1e-11", "above 0"});
  expect_refused("all_reduce_alpha = 1e-4", "all_reduce_alpha = -1",
                 {"small.toml:21", "between.all_reduce_alpha", "-1", "at least 0"});
  expect_refused("memory_gib = 1", "memory_gib = 0", {"small.toml:4", "machine.memory_gib", "0", "above 0"});
  expect_refused("memory_gib = 1", "", {"machine.memory_gib is missing", "above 0"});
  expect_refused("ranks_per_host = 4", "ranks_per_host = 0", {"small.toml:5", "machine.ranks_per_host", "1 to"});
  expect_refused("name = \"small\"", "", {"machine.name is missing"});
  expect_refused("float32_alpha", "float16_alpha", {"small.toml:7", "multiply.float16_alpha", "float32_alpha"});
  expect_refused("[between]", "[beetwen]", {"small.toml:18", "unknown section 'beetwen'", "between"});
  expect_refused("all_to_all_alpha", "all_to_al_alpha", {"small.toml:10", "did you mean 'all_to_all_alpha'"});
  expect_refused("all_to_all_beta = 1e-10", "", {"inside.all_to_all_beta is missing", "both or neither"});
  expect_refused("float32_alpha = 1e-6\nfloat32_beta = 1e-11", "", {"no line of [multiply]", "float32, bf16, float64"});
  expect_refused("all_to_all_alpha = 1e-5", "all_to_all_alpha = \"fast\"", {"small.toml:10", "fast", "a number"});
  expect_refused("[inside]", "[inside", {"small.toml:9"});
}

TEST(MachineFile, ALineThatIsNotGivenIsNamedByItsUse) {
  try {
    small_machine().multiply("bf16");
    FAIL();
  } catch (const parallel::UserError& error) {
    EXPECT_EQ(std::string(error.what()),
              "small.toml: gives no line multiply.bf16 (multiply.bf16_alpha, multiply.bf16_beta), "
              "which run.precision = \"bf16\" needs");
  }
}

void expect_line(const MachineLine& line, const parallel::Line& published) {
  EXPECT_DOUBLE_EQ(line.alpha, published.alpha);
  EXPECT_DOUBLE_EQ(line.beta, published.beta);
}

/// The schedule's tests have the same constants in elements and milliseconds, as they were published.
void expect_test_bed(const std::string& file, const parallel::TestBed& bed) {
  const Machine machine = launch::read_machine(std::string(RECIPES_FOLDER) + "/machines/" + file);
  EXPECT_EQ(machine.ranks_per_host, bed.ranks_per_host);
  expect_line(machine.float32, bed.multiply);
  expect_line(machine.inside.all_gather, bed.all_gather);
  expect_line(machine.inside.reduce_scatter, bed.reduce_scatter);
  expect_line(machine.between.all_to_all, bed.all_to_all);
  expect_line(machine.between.all_reduce, bed.all_reduce);
}

TEST(MachineFile, TestBedsAreTheSchedules) {
  expect_test_bed("fsmoe_a.toml", parallel::fsmoe_a());
  expect_test_bed("fsmoe_b.toml", parallel::fsmoe_b());
}

TEST(MachineFile, TheMeasuredMachineGivesAllThatOneHostNeeds) {
  const Machine machine = launch::read_machine(std::string(RECIPES_FOLDER) + "/machines/xeon_2_cores.toml");
  for (const char* precision : {"float32", "bf16", "float64"})
    EXPECT_GT(machine.multiply(precision).beta, 0) << precision;
  for (const MachineLine& line : {machine.inside.all_to_all, machine.inside.all_gather, machine.inside.reduce_scatter,
                                  machine.inside.all_reduce, machine.sweep}) {
    EXPECT_TRUE(line.given());
  }
}

}  // namespace
