#include "launch/training/overlap.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "launch/profiles/plan_file.h"
#include "launch/profiles/profile_plan.h"
#include "launch/ranks/processor_name.h"
#include "parallel/base/fault.h"
#include "parallel/comm/agreement.h"
#include "parallel/device/accelerator.h"
#include "parallel/device/device_library.h"
#include "parallel/schedule/schedules.h"

namespace launch {
namespace {

using parallel::Plan;
using parallel::user_error;

/// Empty where there is none.
std::string read_text_file(const std::filesystem::path& path) {
  constexpr std::streamsize kLongest = 1 << 24;
  std::ifstream file(path, std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (static_cast<std::streamsize>(text.size()) > kLongest)
    user_error(path.string(), ": too long for a plan or profile");
  return text;
}

nlohmann::json parse(const std::string& text, const std::string& place) {
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    user_error(place, ": not JSON: ", error.what(), "; legal: remove it, and the run measures and plans anew");
  }
}

void check_layers(const Plan& plan, int64_t layers, const std::string& place) {
  if (plan.layers.empty() || static_cast<int64_t>(plan.layers.size()) == layers) return;
  user_error(place, " is of ", plan.layers.size(), " expert layers, and this model has ", layers,
             "; legal: a plan of as many, or one without layers");
}

}  // namespace

std::string describe_machine(parallel::Enum<Device> device, parallel::Enum<Precision> precision, int64_t threads,
                             const parallel::Mesh& mesh) {
  return parallel::concat(processor_name(), "; ", mesh.shape().ranks(), " ranks (", mesh.shape().describe(), "), ",
                          threads, " threads each, on ", device, " in ", precision);
}

OverlapConfig overlap_on(OverlapConfig config, at::Device device, parallel::Communicator& control) {
  const int64_t most = parallel::is_accelerator(device) ? parallel::multiprocessors() / 2 : 0;
  const at::Tensor fewest = at::full({1}, -std::min(config.carve_out, most), at::kLong);
  control.all_reduce(fewest, parallel::ReduceOp::kMax).wait();
  config.carve_out = -fewest.item<int64_t>();
  return config;
}

Overlap::Overlap(OverlapConfig config, RunFolder folder, Groups groups, std::string machine)
    : config_(std::move(config)),
      folder_(std::move(folder)),
      groups_(std::move(groups)),
      machine_(std::move(machine)) {}

bool Overlap::made_from_profile() const {
  return config_.plan.empty() && config_.schedule != OverlapSchedule::kEager &&
         config_.schedule != OverlapSchedule::kChunked;
}

bool Overlap::wants_profile(const std::function<void(const std::string&)>& said) {
  if (!made_from_profile()) return false;
  // All ranks take what rank 0 sees, where views of a shared folder differ for a moment.
  std::string plan, profile;
  parallel::all_ranks(*groups_.control, [&] {
    if (groups_.control->rank() != 0) return;
    plan = read_text_file(folder_.plan());
    profile = read_text_file(folder_.profile());
  });
  plan = parallel::gather_texts(*groups_.control, plan).front();
  profile = parallel::gather_texts(*groups_.control, profile).front();
  if (profile.empty()) return true;
  parallel::all_ranks(*groups_.control, [&] {
    const std::string place = folder_.profile().string();
    profile_ = profile_from_json(parse(profile, place), place);
    if (!plan.empty()) stored_ = plan_from_json(parse(plan, folder_.plan().string()), folder_.plan().string());
  });
  if (profile_->machine == machine_) return false;
  said(parallel::concat("the profile in ", folder_.profile().string(), " is of another machine or layout (",
                        profile_->machine, "); measured anew for: ", machine_));
  profile_.reset();
  stored_.reset();
  return true;
}

void Overlap::use(const Profile& profile) {
  profile_ = profile;
  const Plan plan = plan_from_profile();
  parallel::all_ranks(*groups_.control, [&] {
    if (groups_.control->rank() != 0) return;
    write_file(folder_.profile(), profile_to_json(profile).dump(1) + "\n");
    write_file(folder_.plan(), plan_to_json(plan).dump(1) + "\n");
  });
  follow(plan);
}

void Overlap::use_stored() {
  const int64_t layers = groups_.mesh->schedule()->layers();
  if (!config_.plan.empty()) {
    parallel::all_ranks(*groups_.control, [&] {
      stored_ = read_plan_file(config_.plan);
      check_layers(*stored_, layers, parallel::concat("overlap.plan = \"", config_.plan, "\""));
    });
    follow(*stored_);
  } else if (config_.schedule == OverlapSchedule::kEager) {
    follow({.name = "eager"});
  } else if (config_.schedule == OverlapSchedule::kChunked) {
    Plan plan = parallel::chunked(layers, config_.forward_chunks, config_.backward_chunks);
    plan.carve_out = config_.carve_out;
    follow(std::move(plan));
  } else if (stored_ && stored_->name == config_.schedule.name()) {
    parallel::all_ranks(*groups_.control, [&] { check_layers(*stored_, layers, folder_.plan().string()); });
    follow(*stored_);
  } else {
    use(Profile(*profile_));  // the schedule has changed since, the ranks have not
  }
}

/// Rank 0's, so that not even a rounding lets two ranks differ.
Plan Overlap::plan_from_profile() const {
  std::string text;
  parallel::all_ranks(*groups_.control, [&] {
    const Plan plan = plan_of(config_.schedule.name(), *profile_, groups_.mesh->schedule()->layers());
    if (groups_.control->rank() == 0) text = plan_to_json(plan).dump();
  });
  return plan_from_json(parse(parallel::gather_texts(*groups_.control, text).front(), "plan"), "plan");
}

void Overlap::follow(Plan plan) const {
  plan.carve_out = std::min(plan.carve_out, config_.carve_out);  // a stored plan's may be of larger GPUs
  groups_.mesh->follow(std::move(plan));
}

std::string Overlap::describe() const {
  const std::string plan = parallel::to_text(groups_.mesh->schedule()->plan());
  if (!profile_) return plan;
  return parallel::concat(to_text(*profile_), plan, "predicted: ", 1e3 * predicted()->seconds,
                          " ms an update's last micro-batch and sums, ", 1e3 * profile_->seconds, " ms in one piece");
}

std::optional<parallel::Timeline> Overlap::predicted() const {
  if (!profile_) return std::nullopt;
  return launch::predicted(*profile_, groups_.mesh->schedule()->plan());
}

}  // namespace launch
