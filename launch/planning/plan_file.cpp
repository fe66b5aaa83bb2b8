#include "launch/planning/plan_file.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"

namespace launch {
namespace {

using nlohmann::json;
using parallel::GradientRelease;
using parallel::LayerPlan;
using parallel::Plan;
using parallel::user_error;

constexpr GradientRelease kReleases[] = {GradientRelease::kAfterBackward, GradientRelease::kWhenReady,
                                         GradientRelease::kPlanned};
constexpr int64_t kLargest =
    int64_t{1} << 60;  // sums of a few thousand of these would overflow, and no machine has them

/// As it stands in the file, cut where it is long.
std::string quoted(const json& value) {
  const std::string text = value.dump(-1, ' ', /*ensure_ascii=*/false, json::error_handler_t::replace);
  return text.size() > 60 ? text.substr(0, 60) + "..." : text;
}

/// The members of one JSON object, each taken once; what nobody took is unknown.
class Members {
 public:
  Members(const json& object, std::string place) : object_(object), place_(std::move(place)) {
    if (!object.is_object()) user_error(place_, ": ", quoted(object), " is no object with keys");
  }

  void integer(const char* key, int64_t low, int64_t& value) {
    const json* found = take(key);
    if (!found) return;
    const bool fits = found->is_number_integer() && *found >= low && *found <= kLargest;
    if (!fits) refuse(key, *found, parallel::concat("a whole number, at least ", low));
    value = found->get<int64_t>();
  }

  void boolean(const char* key, bool& value) {
    const json* found = take(key);
    if (!found) return;
    if (!found->is_boolean()) refuse(key, *found, "true or false");
    value = found->get<bool>();
  }

  void text(const char* key, std::string& value) {
    const json* found = take(key);
    if (!found) return;
    if (!found->is_string()) refuse(key, *found, "a text");
    value = found->get<std::string>();
  }

  void release(const char* key, GradientRelease& value) {
    const json* found = take(key);
    if (!found) return;
    std::vector<std::string> names;
    for (const GradientRelease each : kReleases) {
      names.push_back(to_string(each));
      if (*found == names.back()) {
        value = each;
        return;
      }
    }
    refuse(key, *found, "one of " + parallel::list_names(names));
  }

  const json* take(const char* key) {
    known_.push_back(key);
    const auto found = object_.find(key);
    return found == object_.end() ? nullptr : &*found;
  }

  void refuse_others() const {
    for (const auto& [key, value] : object_.items()) {
      if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
      const std::string nearest = parallel::nearest_name(key, known_);
      user_error(place_, ": unknown key ", quoted(key), nearest.empty() ? "" : ", is '" + nearest + "' meant?",
                 " (known: ", parallel::list_names(known_), ")");
    }
  }

  [[noreturn]] void refuse(const char* key, const json& value, const std::string& legal) const {
    user_error(place_, ": ", key, " = ", quoted(value), " is not legal; it must be ", legal);
  }

 private:
  const json& object_;
  std::string place_;
  std::vector<std::string> known_;
};

LayerPlan layer_from_json(const json& object, const std::string& place, GradientRelease release) {
  Members members(object, place);
  LayerPlan layer;
  members.integer("forward_chunks", 1, layer.forward_chunks);
  members.integer("backward_chunks", 1, layer.backward_chunks);
  members.integer("moe_gradient_bytes", 0, layer.moe_gradient_bytes);
  members.integer("dense_gradient_bytes", 0, layer.dense_gradient_bytes);
  members.refuse_others();
  if (release != GradientRelease::kPlanned && (layer.moe_gradient_bytes > 0 || layer.dense_gradient_bytes > 0)) {
    user_error(place, ": ", layer.moe_gradient_bytes, " and ", layer.dense_gradient_bytes,
               " bytes of gradients in a plan whose release is \"", to_string(release),
               "\"; they must be 0, or the release \"planned\"");
  }
  return layer;
}

}  // namespace

nlohmann::ordered_json plan_to_json(const Plan& plan) {
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (const LayerPlan& layer : plan.layers) {
    layers.push_back({{"forward_chunks", layer.forward_chunks},
                      {"backward_chunks", layer.backward_chunks},
                      {"moe_gradient_bytes", layer.moe_gradient_bytes},
                      {"dense_gradient_bytes", layer.dense_gradient_bytes}});
  }
  return {{"name", plan.name},
          {"overlap", plan.overlap},
          {"one_link", plan.one_link},
          {"release", to_string(plan.release)},
          {"slice_bytes", plan.slice_bytes},
          {"layers", layers}};
}

Plan plan_from_json(const json& object, const std::string& place) {
  Members members(object, place);
  Plan plan;
  members.text("name", plan.name);
  members.boolean("overlap", plan.overlap);
  members.boolean("one_link", plan.one_link);
  members.release("release", plan.release);
  members.integer("slice_bytes", 0, plan.slice_bytes);
  if (const json* layers = members.take("layers")) {
    if (!layers->is_array()) members.refuse("layers", *layers, "a list with an object for each MoE layer");
    for (const json& layer : *layers) {
      const std::string there = parallel::concat(place, ": layers[", plan.layers.size(), "]");
      plan.layers.push_back(layer_from_json(layer, there, plan.release));
    }
  }
  members.refuse_others();
  return plan;
}

Plan read_plan_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) user_error("cannot read the plan ", path.string());
  json object;
  try {
    object = json::parse(file);
  } catch (const json::parse_error& error) {
    user_error(path.string(), ": no JSON at byte ", error.byte,
               "; a plan is an object with keys like \"name\" and \"layers\"");
  }
  return plan_from_json(object, path.string());
}

void write_plan_file(const std::filesystem::path& path, const Plan& plan) {
  std::ofstream file(path, std::ios::binary);
  file << plan_to_json(plan).dump(2) << '\n' << std::flush;
  if (!file) user_error("cannot write ", path.string());
}

}  // namespace launch
