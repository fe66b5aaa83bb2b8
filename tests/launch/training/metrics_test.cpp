// Every line of metrics.jsonl is JSON, whatever a run comes to and its groups are called.
#include "launch/training/metrics.h"

#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "tests/support/tiny_corpus.h"
#include "tests/support/world.h"

namespace {

TEST(MetricsFile, WhatIsNoNumberIsNullAndAnyNameIsText) {
  const auto world = test_world();
  const TestFolder folder("metrics", *world);
  const auto path = folder.path() / (std::to_string(world->rank()) + ".jsonl");
  launch::EvaluationRecord record;
  record.loss = std::numeric_limits<double>::quiet_NaN();
  record.bits_per_byte = std::numeric_limits<double>::infinity();
  record.groups.push_back({"de\xFF", {}});
  launch::MetricsFile(path).write(record);
  std::ifstream file(path);
  std::string line;
  ASSERT_TRUE(std::getline(file, line));
  const auto json = nlohmann::json::parse(line);
  EXPECT_TRUE(json["loss"].is_null() && json["bits_per_byte"].is_null()) << line;
  EXPECT_EQ(json["groups"].size(), 1u) << line;
}

}  // namespace
