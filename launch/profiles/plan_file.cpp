#include "launch/profiles/plan_file.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "launch/profiles/json_members.h"
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
/// As its name in a file.
void release_of(JsonMembers& members, GradientRelease& value) {
  std::string name = to_string(value);
  members.text("release", name);
  std::vector<std::string> names;
  for (const GradientRelease each : kReleases) {
    names.push_back(to_string(each));
    if (name == names.back()) {
      value = each;
      return;
    }
  }
  members.refuse("release", name, "one of " + parallel::list_names(names));
}

LayerPlan layer_from_json(const json& object, const std::string& place, GradientRelease release) {
  JsonMembers members(object, place);
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
          {"carve_out", plan.carve_out},
          {"slice_bytes", plan.slice_bytes},
          {"layers", layers}};
}

Plan plan_from_json(const json& object, const std::string& place) {
  JsonMembers members(object, place);
  Plan plan;
  members.text("name", plan.name);
  members.boolean("overlap", plan.overlap);
  members.boolean("one_link", plan.one_link);
  release_of(members, plan.release);
  members.integer("carve_out", 0, plan.carve_out);
  if (plan.carve_out > parallel::kMostCarvedOut)
    members.refuse("carve_out", object["carve_out"], parallel::concat("0 to ", parallel::kMostCarvedOut));
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
