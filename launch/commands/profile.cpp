#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iomanip>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "launch/commands/commands.h"
#include "launch/commands/job.h"
#include "launch/commands/options/number_option.h"
#include "launch/commands/options/output_file.h"
#include "launch/planning/machine_profile.h"
#include "launch/profiles/plan_file.h"
#include "launch/profiles/profile_plan.h"
#include "launch/ranks/same_start.h"
#include "launch/runs/run_folder.h"
#include "launch/stages/stage_plan.h"
#include "launch/training/setup.h"
#include "parallel/base/fault.h"
#include "parallel/comm/agreement.h"
#include "parallel/process/deadline.h"
#include "parallel/schedule/schedules.h"

namespace launch {
namespace {

struct ProfileArguments {
  std::string recipe;
  std::vector<std::string> overrides;
  std::string machine;  // file to write
  std::string stage;
  bool json = false;
  double limit = 600;  // [s]
  double start_limit = JobStart{}.limit;
  std::shared_ptr<const Registry> registry;
};

/// What a schedule makes of the profile.
struct Candidate {
  parallel::Plan plan;
  double seconds = 0;
};

std::vector<Candidate> candidates_of(const Profile& profile, int64_t layers) {
  std::vector<Candidate> all;
  for (const std::string& name : parallel::builtin_schedules().names()) {
    Candidate& each = all.emplace_back();
    each.plan = plan_of(name, profile, layers);
    each.seconds = predicted(profile, each.plan).seconds;
  }
  std::ranges::stable_sort(all, {}, &Candidate::seconds);
  return all;
}

std::string table_of(const Profile& profile, const std::vector<Candidate>& candidates) {
  std::ostringstream text;
  text << to_text(profile) << "\n";
  for (const Candidate& each : candidates) text << to_text(each.plan) << "\n";
  text << "schedule         predicted [ms] of an update's last micro-batch and sums\n" << std::fixed;
  for (const Candidate& each : candidates) {
    text << std::left << std::setw(16) << each.plan.name << std::right << std::setw(10) << std::setprecision(3)
         << 1e3 * each.seconds << "\n";
  }
  return text.str();
}

std::string json_of(const Profile& profile, const std::vector<Candidate>& candidates) {
  nlohmann::ordered_json schedules = nlohmann::ordered_json::array();
  for (const Candidate& each : candidates) {
    schedules.push_back({{"schedule", each.plan.name}, {"seconds", each.seconds}, {"plan", plan_to_json(each.plan)}});
  }
  return nlohmann::ordered_json{{"profile", profile_to_json(profile)}, {"schedules", schedules}}.dump(1) + "\n";
}

/// The machine file of the ranks that were profiled. Where hosts have different numbers of ranks, the largest counts.
void write_machine_file(const std::string& path, const Profile& profile, const TrainingSetup& setup) {
  std::map<int64_t, int64_t> ranks_of;
  for (const int64_t host : setup.groups.mesh->hosts()) ++ranks_of[host];
  int64_t most = 1;
  for (const auto& [host, ranks] : ranks_of) most = std::max(most, ranks);
  const Machine machine = machine_of(profile, {.recipe = setup.recipe,
                                               .vocabulary = setup.vocabulary(),
                                               .cluster = {static_cast<int64_t>(ranks_of.size()), most},
                                               .memory_gib = physical_memory() / (1 << 30) / static_cast<double>(most),
                                               .name = profile.machine});
  write_file(path, to_text(machine));
}

[[noreturn]] void give_up(int64_t rank, const char* part, double limit) {
  if (rank == 0) {
    std::fprintf(stderr,
                 "moetrain: profile: %s: not over within %g s. A rank does not answer (moetrain doctor tries the "
                 "links), or the recipe's update takes longer: legal is a larger --limit\n",
                 part, limit);
  } else {
    std::this_thread::sleep_for(std::chrono::seconds(2));  // the first rank speaks
  }
  std::_Exit(kUserFault);
}

int profile(const ProfileArguments& arguments, std::shared_ptr<parallel::MpiCommunicator> world) {
  Recipe recipe = read_same_recipe(arguments.recipe, arguments.overrides, arguments.registry, *world);
  parallel::all_ranks(*world, [&] { recipe = stage_alone(recipe, arguments.stage, /*vocabulary=*/0, world->size()); });
  at::Device device(at::kCPU);
  const int64_t rank = world->rank();
  parallel::all_ranks(*world, [&] {
    if (rank > 0 || arguments.machine.empty()) return;
    std::vector<std::filesystem::path> inputs{arguments.recipe};
    for (const data::TokenFile& file : data::parse_token_files(recipe.data.file)) inputs.emplace_back(file.path);
    check_output_file("--write-machine", arguments.machine, inputs);
  });
  std::atomic<const char*> part = "reading the text and building the model";
  const parallel::Deadline deadline(arguments.limit, "profile_limit",
                                    [&] { give_up(rank, part.load(), arguments.limit); });
  parallel::all_ranks(*world, [&] { device = open_device(recipe.run.device, *world); });
  TrainingSetup setup(recipe, make_groups(world, device, recipe.run.checks, recipe.mesh), device);
  setup.build();
  part = "measuring";
  const Profile measured = setup.profile(/*update=*/0);
  const std::vector<Candidate> candidates = candidates_of(measured, setup.groups.mesh->schedule()->layers());
  parallel::all_ranks(*world, [&] {
    if (rank == 0 && !arguments.machine.empty()) write_machine_file(arguments.machine, measured, setup);
  });
  if (rank == 0) {
    std::printf("%s", (arguments.json ? json_of(measured, candidates) : table_of(measured, candidates)).c_str());
  }
  return kDone;
}

}  // namespace

void add_profile_command(CLI::App& app, Invocation& invocation) {
  auto arguments = std::make_shared<ProfileArguments>();
  arguments->registry = invocation.registry;
  CLI::App* command = app.add_subcommand(
      "profile", "measure what a recipe's step costs on these ranks, and what each schedule would make of it");
  command->add_option("recipe", arguments->recipe, "TOML recipe; overlap.profile_seconds is what measuring may take")
      ->required();
  add_overrides(*command, arguments->overrides);
  add_stage_option(*command, arguments->stage);
  command->add_option("--write-machine", arguments->machine,
                      "a machine file of these ranks' measured lines, for `moetrain plan --machine`");
  command->add_flag("--json", arguments->json, "print the profile and the plans as JSON");
  command->add_option("--limit", arguments->limit, "seconds after which the process ends and says where it was")
      ->capture_default_str()
      ->check(number_between(1, 86400));
  add_start_limit(*command, arguments->start_limit);
  command->callback([arguments, &invocation] {
    invocation.exit_code =
        run_job({"profile", arguments->start_limit}, [&](auto world) { return profile(*arguments, std::move(world)); });
  });
}

}  // namespace launch
