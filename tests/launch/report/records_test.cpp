// A record is what it was after it has been written and read.
#include "launch/records/records.h"

#include <gtest/gtest.h>

#include <cmath>

#include "launch/records/describe_records.h"
#include "launch/records/record_json.h"

namespace launch {
namespace {

template <class Record>
RecordJson there_and_back(const Record& record) {
  return record_to_json(record_from_json<Record>(record_to_json(record)));
}

TEST(Records, AreReadAsTheyWereWritten) {
  StepRecord step{.step = 7, .tokens = 1e6, .loss = {{"total", 2.5}, {"next_token", 2}}};
  step.layers = {{.layer = 1, .load = {0.25, 0.75}, .dropped = 3, .entropy = 0.5}};
  EXPECT_TRUE(record_to_json(step)["sources"].is_null()) << "of one token file";
  step.sources = {{"web", 3000}, {"books", 1000}};
  EXPECT_EQ(there_and_back(step), record_to_json(step));
  ResumeRecord resumed;
  resumed.step = 5;
  resumed.changed = {{"train.length", {"\"5u\"", "\"9u\""}}};
  EXPECT_EQ(there_and_back(resumed), record_to_json(resumed));
  EvaluationFile file;
  file.groups = {{"en", {.loss = 1.5}}};
  file.routing = {{.layer = 0, .experts = 2, .groups = {{"en", {0.5, 0.5}}}}};
  file.translation = {{"en-de", {.sentences = 3, .bleu = 20.5}}};
  EXPECT_EQ(there_and_back(file), record_to_json(file));
}

TEST(Records, NumbersAreAsShortAsTheyAre) {
  const RecordJson json = record_to_json(CheckpointRecord{.step = 3, .seconds = 0.5, .bytes = 4096});
  EXPECT_EQ(json.dump(), R"({"step":3,"seconds":0.5,"bytes":4096})");
  EXPECT_EQ(record_to_json(SharesRecord{.seconds = INFINITY})["seconds"].dump(), "null");
}

TEST(Records, WhatIsAbsentIsNoNumber) {
  const auto step = record_from_json<StepRecord>(RecordJson::parse(R"({"step":1,"loss":null,"of later":[]})"));
  EXPECT_TRUE(std::isnan(step.gradient_norm) && step.loss.empty() && step.layers.empty());
  EXPECT_FALSE(record_from_json<TraceRecord>(RecordJson::parse(R"({"step":1})")).predicted.has_value());
  EXPECT_THROW(record_from_json<StepRecord>(RecordJson::object()), BadRecord) << "its step has to be there";
}

TEST(Records, EveryFieldIsDescribed) {
  const std::string text = describe_records();
  for (const char* field : {"event \"step\"", "  layers[].load ", "  groups.NAME.loss "}) {
    EXPECT_NE(text.find(field), std::string::npos) << field << "\n" << text;
  }
}

}  // namespace
}  // namespace launch
