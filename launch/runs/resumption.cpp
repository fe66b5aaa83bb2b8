#include "launch/runs/resumption.h"

#include <algorithm>
#include <cmath>
#include <exception>

#include "optim/schedules/schedule.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"
#include "parallel/comm/agreement.h"

namespace launch {
namespace {

using parallel::concat;

/// Runs the action on all ranks. Empty, or why it failed: the same text on all of them; `fault` is this rank's.
std::string failure_of(parallel::Communicator& group, const std::function<void()>& action, std::exception_ptr& fault) {
  std::string own;
  try {
    parallel::all_ranks(group, action);
    return {};
  } catch (const parallel::ReportedElsewhere&) {
    fault = std::current_exception();
  } catch (const DamagedCheckpoint& error) {
    fault = std::current_exception();
    own = error.reason;
  } catch (const parallel::UserError& error) {
    fault = std::current_exception();
    own = error.what();
  }
  const std::vector<std::string> reasons = parallel::gather_texts(group, own);
  return *std::ranges::find_if(reasons, [](const std::string& reason) { return !reason.empty(); });
}

double learning_rate_at(const Recipe& recipe, int64_t update, const parallel::SpanScale& scale) {
  const int64_t length = to_updates(recipe.train.length, scale);
  return recipe.optimizer.learning_rate *
         optim::learning_rate_scale(optim::resolve(recipe.schedule, recipe.schedule_rule(), length, scale), update);
}

}  // namespace

Loaded load_newest_usable(const std::filesystem::path& run_folder, parallel::Communicator& group,
                          const std::function<void(const std::filesystem::path&)>& prepare,
                          const std::function<void(const std::filesystem::path&)>& load) {
  Loaded loaded;
  std::exception_ptr first;
  std::vector<int64_t> there = checkpoint_updates(run_folder, group);
  for (; !there.empty(); there.pop_back()) {
    const std::filesystem::path checkpoint = checkpoint_path(run_folder, there.back());
    prepare(checkpoint);
    std::exception_ptr fault;
    const std::string reason = failure_of(
        group, [&] { load(checkpoint); }, fault);
    if (!fault) {
      loaded.update = there.back();
      return loaded;
    }
    if (!first) first = fault;
    loaded.passed.push_back({checkpoint, reason});
  }
  if (first) std::rethrow_exception(first);
  return loaded;
}

std::string describe_learning_rate_jump(const Recipe& then, const Recipe& now, int64_t update,
                                        const parallel::SpanScale& scale) {
  const double before = learning_rate_at(then, update, scale), after = learning_rate_at(now, update, scale);
  if (std::abs(after - before) <= 1e-9 * before) return {};
  std::vector<std::string> why;
  for (const ChangedKey& key : changed_keys(then, now)) {
    const bool moves_it =
        key.name == "train.length" || key.name == "optimizer.learning_rate" || key.name.starts_with("schedule.");
    if (moves_it) why.push_back(key.describe());
  }
  return concat("learning rate: ", after, " in update ", update + 1, ", which the recipe so far would have given ",
                before, "; schedule.kind = \"", now.schedule.kind, "\", changed: ", parallel::list_names(why));
}

std::string advice(const Recipe& recipe, const DivergenceFacts& facts) {
  if (facts.update == 0) {
    return concat("no update has been made yet, so the learning rate has no part in it; lower model.init_std (",
                  recipe.model.init_std, " now), or the weights of losses in [moe]");
  }
  const std::string lower = concat(
      "lower optimizer.learning_rate (", recipe.optimizer.learning_rate, " now), or ",
      recipe.optimizer.clip_norm > 0 ? concat("lengthen schedule.warmup (", to_string(recipe.schedule.warmup), " now)")
                                     : std::string("set optimizer.clip_norm (0 now, which is no clipping) to 1"));
  const auto goes_on = [](int64_t update) {
    return update < 0 ? std::string("--resume begins anew") : concat("--resume goes on from update ", update);
  };
  if (facts.update == facts.begun) {  // loaded, and not by this process' doing
    const std::filesystem::path file = checkpoint_path(recipe.run.folder, facts.saved);
    return concat("its weights are those of ", file.string(), ", which had diverged already; `mv ", file.string(), " ",
                  aside_of(file).string(), "`, and ", lower, "; then ", goes_on(facts.before));
  }
  const std::string aside =
      facts.aside.empty() ? "" : concat("its weights had been saved, and are now ", facts.aside, "; ");
  return concat(aside, lower, "; then ", goes_on(facts.saved));
}

}  // namespace launch
