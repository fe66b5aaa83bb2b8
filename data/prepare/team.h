// defines: PrepareTeam, PrepareProgress: those who prepare one token file together
#pragma once
#include <cstdint>
#include <functional>

#include "data/shard.h"

namespace data {

/// The processes that prepare one file, on one file system. The first of them decides; all read and encode.
struct PrepareTeam {
  Shard shard = {};
  /// Runs `part` on all, and returns when all are done; where one threw a UserError, all throw.
  std::function<void(const std::function<void()>& part)> together = [](const auto& part) { part(); };

  bool is_first() const { return shard.index == 0; }
  bool is_alone() const { return shard.count == 1; }
};

/// How far a phase is, in bytes of text (of packed files: of the files).
struct PrepareProgress {
  const char* phase = "";  // "reading", "encoding"
  int64_t done = 0, total = 0;
};

}  // namespace data
