// defines: describe_job, describe_links, describe_warnings: what a person reads
#pragma once
#include <string>
#include <vector>

#include "launch/doctor/facts.h"
#include "launch/doctor/warnings.h"

namespace launch {

/// Versions, launcher, hosts, ranks (those that are alike on one line) and transport settings.
std::string describe_job(const JobFacts& job);

/// A line for each kind of link: its median group, and the slowest where that differs.
std::string describe_links(const JobFacts& job);

std::string describe_warnings(const std::vector<Warning>& warnings);

}  // namespace launch
