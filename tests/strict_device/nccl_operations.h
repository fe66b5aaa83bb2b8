// defines: collective, exchange, in_open_group: what the stand-in for NCCL does, step by step
#pragma once
#include <vector>

#include "tests/strict_device/nccl_ranks.h"

namespace strict {

/// All say what they do; all read what they need of each other; all write.
Step collective(ncclComm* comm, const Operation& operation);

/// Sends and receives that were issued together.
Step exchange(ncclComm* comm, std::vector<Operation> operations);

/// Whether this thread has a group open that holds operations for this stream: they are not in it yet.
bool in_open_group(c10::StreamId stream);

}  // namespace strict
