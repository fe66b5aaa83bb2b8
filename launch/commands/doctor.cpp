#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "launch/commands/commands.h"
#include "launch/commands/job.h"
#include "launch/commands/options/number_option.h"
#include "launch/commands/options/output_file.h"
#include "launch/doctor/examine.h"
#include "launch/doctor/facts_json.h"
#include "launch/doctor/measure.h"
#include "launch/doctor/table.h"
#include "launch/ranks/groups.h"
#include "launch/ranks/same_start.h"
#include "launch/recipe/reader.h"
#include "launch/runs/run_folder.h"
#include "parallel/comm/agreement.h"
#include "parallel/process/deadline.h"

namespace launch {
namespace {

constexpr double kLinksLimit = 40;  // [s] several times what the measurements allow themselves

struct DoctorArguments {
  std::string recipe;
  std::vector<std::string> overrides;
  std::string json;
  double start_limit = JobStart{}.limit;
  std::shared_ptr<const Registry> registry;
};

/// Which part is being measured, read by the thread that watches the time.
class CurrentPart {
 public:
  void set(const std::string& name) {
    const std::lock_guard lock(mutex_);
    name_ = name;
  }
  std::string name() const {
    const std::lock_guard lock(mutex_);
    return name_;
  }

 private:
  mutable std::mutex mutex_;
  std::string name_ = "the start";
};

[[noreturn]] void give_up(int64_t rank, const std::string& part, const std::vector<Warning>& warnings) {
  if (rank == 0) {
    std::printf("%s", describe_warnings(warnings).c_str());
    std::fflush(stdout);
    std::fprintf(stderr,
                 "moetrain: doctor: %s: nothing arrives within %g s. Ranks that reach each other at start but cannot "
                 "exchange data use an interface that does not join the hosts: name the one that does with "
                 "OMPI_MCA_btl_tcp_if_include (NCCL: NCCL_SOCKET_IFNAME)\n",
                 part.c_str(), kLinksLimit);
  } else {
    std::this_thread::sleep_for(std::chrono::seconds(2));  // the first rank speaks
  }
  std::_Exit(kUserFault);
}

/// The recipe's device and threads; their defaults without one.
RunConfig asked_for(const DoctorArguments& arguments) {
  if (!arguments.recipe.empty())
    return read_recipe(arguments.recipe, arguments.overrides, {.registry = arguments.registry}).run;
  return parse_recipe("", "no recipe", arguments.overrides, {.registry = arguments.registry}).run;
}

bool is_fatal(const Warning& warning) { return warning.level == Warning::Level::kFatal; }

int examine(const DoctorArguments& arguments, std::shared_ptr<parallel::MpiCommunicator> world) {
  RunConfig run;
  parallel::all_ranks(*world, [&] {
    run = asked_for(arguments);
    if (world->rank() == 0 && !arguments.json.empty()) check_output_file("--json", arguments.json, {arguments.recipe});
  });
  require_same(*world, {{"run.device", run.device.name()}, {"run.threads", std::to_string(run.threads)}});
  JobFacts job = gather_job(*world);
  job.device = run.device;
  job.threads = run.threads;
  std::vector<Warning> warnings = find_warnings(job);
  const bool first = world->rank() == 0;
  if (first) {
    std::printf("%s\n", describe_job(job).c_str());
    std::fflush(stdout);  // seen even where the links hang
  }
  at::Device device(at::kCPU);
  const bool has_gpus = std::none_of(warnings.begin(), warnings.end(), is_fatal);
  if (has_gpus) parallel::all_ranks(*world, [&] { device = open_device(run.device, *world); });
  CurrentPart part;
  {
    const parallel::Deadline deadline(kLinksLimit, "doctor_links",
                                      [&] { give_up(world->rank(), part.name(), warnings); });
    job.links = measure_links(*world, job, device, [&](const std::string& name) { part.set(name); });
  }
  parallel::all_ranks(*world, [&] {
    if (!first) return;
    warnings = find_warnings(job);
    std::printf("%s\n%s", describe_links(job).c_str(), describe_warnings(warnings).c_str());
    if (warnings.empty()) std::printf("nothing to warn of\n");
    if (!arguments.json.empty()) write_file(arguments.json, to_json(job, warnings).dump(1) + "\n");
  });
  return std::any_of(warnings.begin(), warnings.end(), is_fatal) ? kUserFault : kDone;
}

}  // namespace

void add_doctor_command(CLI::App& app, Invocation& invocation) {
  auto arguments = std::make_shared<DoctorArguments>();
  arguments->registry = invocation.registry;
  CLI::App* command = app.add_subcommand(
      "doctor", "what the ranks of this job find: hosts, cores, GPUs, versions, links, and what is in their way");
  command->add_option("recipe", arguments->recipe, "take run.device and run.threads from this recipe");
  add_overrides(*command, arguments->overrides);
  command->add_option("--json", arguments->json, "write all of it, and every measured time, into this file");
  add_start_limit(*command, arguments->start_limit);
  command->callback([arguments, &invocation] {
    invocation.exit_code =
        run_job({"doctor", arguments->start_limit}, [&](auto world) { return examine(*arguments, std::move(world)); });
  });
}

}  // namespace launch
