// defines: check_stages: what the data of stages is refused for, before the first one begins
#pragma once
#include <c10/core/Device.h>

#include <vector>

#include "launch/stages/stage_plan.h"
#include "parallel/comm/communicator.h"

namespace launch {

/// Opens the data of all stages, each file once, and finds out how long each is (PlannedStage::updates). `ranks`: whose
/// first one reads every token. UserError, naming the stage: no such file, another tokenizer than the first one's, a
/// schedule that does not fit into its length, nothing held out where it evaluates, no teacher, too little memory. No
/// collective.
void check_stages(std::vector<PlannedStage>& stages, at::Device device, const parallel::Communicator& ranks);

}  // namespace launch
