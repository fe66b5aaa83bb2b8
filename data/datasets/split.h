// defines: Split, to_string
#pragma once
#include <cstdint>
#include <string>

namespace data {

/// What a document is for. kHeldOut is looked at during a run (validation), kTest after it.
enum class Split : uint8_t { kTrain = 0, kHeldOut = 1, kTest = 2 };
constexpr uint8_t kSplits = 3;
std::string to_string(Split split);  // "train", "held out", "test"

}  // namespace data
