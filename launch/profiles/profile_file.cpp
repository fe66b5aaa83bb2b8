#include <iomanip>
#include <sstream>

#include "launch/profiles/json_members.h"
#include "launch/profiles/profile.h"

namespace launch {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

using parallel::Line;
using parallel::StepModel;

/// action(name, line) for each, with its unit's scale.
template <class Lines, class Action>
void for_each_line(Lines& lines, Action&& action) {
  action("all_to_all", lines.all_to_all);
  action("all_gather", lines.all_gather);
  action("reduce_scatter", lines.reduce_scatter);
  action("all_reduce", lines.all_reduce);
  action("expert_forward", lines.expert_forward);
  action("expert_input_gradient", lines.expert_input_gradient);
  action("expert_weight_gradient", lines.expert_weight_gradient);
}

}  // namespace

std::string to_text(const Profile& profile) {
  std::ostringstream text;
  text << profile.machine << "\n" << std::setprecision(4);
  for_each_line(profile.model.lines, [&](const std::string& name, const Line& line) {
    if (line.beta == 0 && line.alpha == 0) return;
    const bool computes = name.starts_with("expert");
    text << "  " << std::left << std::setw(24) << name << std::right << std::setw(9) << 1e6 * line.alpha << " us";
    if (line.beta > 0) {
      text << " + " << std::setw(9) << (computes ? 2e-9 : 1e-6) / line.beta << (computes ? " GFLOP/s" : " MB/s   ");
    } else {
      text << ", the same for every size";
    }
    text << "   r2 " << line.r2 << "\n";
  });
  for (size_t i = 0; i < profile.model.layers.size(); ++i) {
    const parallel::LayerLoad& layer = profile.model.layers[i];
    text << "  layer " << profile.layer_of_call[i] << ": all-to-all " << 1e-6 * layer.all_to_all_bytes
         << " MB, experts " << 2e-9 * layer.multiply_adds << " GFLOP, dense part before it "
         << 1e3 * layer.dense_forward_seconds << " + " << 1e3 * layer.dense_backward_seconds << " ms and "
         << 1e-6 * static_cast<double>(layer.dense_gradient_bytes) << " MB of gradients\n";
  }
  text << "  after them: " << 1e3 * profile.model.head_forward_seconds << " + "
       << 1e3 * profile.model.head_backward_seconds << " ms and "
       << 1e-6 * static_cast<double>(profile.model.head_gradient_bytes) << " MB of gradients; in one piece "
       << 1e3 * profile.seconds << " ms; beside each other compute takes " << 1 + profile.model.contention.compute
       << " and an exchange " << 1 + profile.model.contention.link << " times as long";
  if (profile.model.carve_out > 0) {
    text << ", with " << profile.model.carve_out << " multiprocessors of a GPU left to exchanges";
  }
  text << "\n";
  return text.str();
}

ordered_json profile_to_json(const Profile& profile) {
  ordered_json lines, layers = ordered_json::array();
  for_each_line(profile.model.lines, [&](const char* name, const Line& line) {
    lines[name] = {{"alpha", line.alpha}, {"beta", line.beta}, {"r2", line.r2}};
  });
  for (size_t i = 0; i < profile.model.layers.size(); ++i) {
    const parallel::LayerLoad& layer = profile.model.layers[i];
    layers.push_back({{"layer", profile.layer_of_call[i]},
                      {"all_to_all_bytes", layer.all_to_all_bytes},
                      {"all_gather_bytes", layer.all_gather_bytes},
                      {"reduce_scatter_bytes", layer.reduce_scatter_bytes},
                      {"multiply_adds", layer.multiply_adds},
                      {"matrices", layer.matrices},
                      {"dense_forward_seconds", layer.dense_forward_seconds},
                      {"dense_backward_seconds", layer.dense_backward_seconds},
                      {"dense_gradient_bytes", layer.dense_gradient_bytes}});
  }
  return {{"machine", profile.machine},
          {"seconds", profile.seconds},
          {"contention", {{"compute", profile.model.contention.compute}, {"link", profile.model.contention.link}}},
          {"carve_out", {{"multiprocessors", profile.model.carve_out}, {"share", profile.model.lines.carve_out}}},
          {"lines", lines},
          {"layers", layers},
          {"head_forward_seconds", profile.model.head_forward_seconds},
          {"head_backward_seconds", profile.model.head_backward_seconds},
          {"head_gradient_bytes", profile.model.head_gradient_bytes}};
}

Profile profile_from_json(const json& object, const std::string& place) {
  Profile profile;
  JsonMembers members(object, place);
  members.text("machine", profile.machine);
  members.number("seconds", 0, profile.seconds);
  if (const json* contention = members.take("contention")) {
    JsonMembers shares(*contention, place + ": contention");
    shares.number("compute", 0, profile.model.contention.compute);
    shares.number("link", 0, profile.model.contention.link);
    shares.refuse_others();
  }
  if (const json* carve_out = members.take("carve_out")) {
    JsonMembers both(*carve_out, place + ": carve_out");
    both.integer("multiprocessors", 0, profile.model.carve_out);
    if (profile.model.carve_out > parallel::kMostCarvedOut)
      both.refuse("multiprocessors", (*carve_out)["multiprocessors"],
                  parallel::concat("0 to ", parallel::kMostCarvedOut));
    both.number("share", 0, profile.model.lines.carve_out);
    if (profile.model.lines.carve_out >= 1) both.refuse("share", (*carve_out)["share"], "a share below 1");
    both.refuse_others();
  }
  members.number("head_forward_seconds", 0, profile.model.head_forward_seconds);
  members.number("head_backward_seconds", 0, profile.model.head_backward_seconds);
  members.integer("head_gradient_bytes", 0, profile.model.head_gradient_bytes);
  if (const json* lines = members.take("lines")) {
    JsonMembers each(*lines, place + ": lines");
    for_each_line(profile.model.lines, [&](const char* name, Line& line) {
      if (const json* found = each.take(name)) {
        JsonMembers of_line(*found, place + ": lines: " + name);
        of_line.number("alpha", 0, line.alpha);
        of_line.number("beta", 0, line.beta);
        of_line.number("r2", -1e300, line.r2);
        of_line.refuse_others();
      }
    });
    each.refuse_others();
  }
  if (const json* layers = members.take("layers")) {
    if (!layers->is_array()) members.refuse("layers", *layers, "a list of layers");
    for (size_t i = 0; i < layers->size(); ++i) {
      JsonMembers of_layer((*layers)[i], parallel::concat(place, ": layers[", i, "]"));
      parallel::LayerLoad& layer = profile.model.layers.emplace_back();
      int64_t& number = profile.layer_of_call.emplace_back(static_cast<int64_t>(i));
      of_layer.integer("layer", 0, number);
      of_layer.number("all_to_all_bytes", 0, layer.all_to_all_bytes);
      of_layer.number("all_gather_bytes", 0, layer.all_gather_bytes);
      of_layer.number("reduce_scatter_bytes", 0, layer.reduce_scatter_bytes);
      of_layer.number("multiply_adds", 0, layer.multiply_adds);
      of_layer.integer("matrices", 0, layer.matrices);
      of_layer.number("dense_forward_seconds", 0, layer.dense_forward_seconds);
      of_layer.number("dense_backward_seconds", 0, layer.dense_backward_seconds);
      of_layer.integer("dense_gradient_bytes", 0, layer.dense_gradient_bytes);
      of_layer.refuse_others();
    }
  }
  members.refuse_others();
  return profile;
}

}  // namespace launch
