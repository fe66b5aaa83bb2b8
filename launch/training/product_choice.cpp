#include "launch/training/product_choice.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "launch/interchange/tensors/json_object.h"
#include "launch/ranks/processor_name.h"
#include "parallel/base/fault.h"
#include "parallel/comm/agreement.h"

namespace launch {
namespace {

using moetrain::GroupedShape;
using moetrain::ProductKind;
using moetrain::ProductWay;
using moetrain::TimedWays;

/// A rule names its ways as often as they are taken.
std::string describe(const moetrain::ProductRule& rule) {
  std::map<std::string, int64_t> times;
  for (const auto& entry : rule.entries) ++times[entry.way.describe()];
  std::string text;
  for (const auto& [way, count] : times) text += parallel::concat(text.empty() ? "" : ", ", count, " by ", way);
  return text;
}

/// The file's text on all ranks, as rank 0 sees it; empty where there is none.
std::string stored_text(const RunFolder& folder, parallel::Communicator& control) {
  std::string text;
  parallel::all_ranks(control, [&] {
    if (control.rank() == 0 && std::filesystem::exists(folder.products()))
      text = interchange::read_small_file(folder.products(), interchange::kLargestSmallFile);
  });
  return parallel::gather_texts(control, text).front();
}

}  // namespace

std::vector<ProductsOfExperts> expert_products(const Recipe& recipe, const Workload& work) {
  std::vector<ProductsOfExperts> all;
  for (const PlannedBlock& block : work.blocks) {
    for (const PlannedExperts* layer : block.layers()) {
      const moetrain::MoeConfig& moe = layer->moe;
      const TokenCount routed = work.routed(block, *layer);
      const int64_t places = moe.rows == moetrain::Rows::kSequences ? work.side(block).length : 1;
      const int64_t rows = routed.world * places * moe.top_k / moe.experts / work.mesh.expert_data;
      for (const moetrain::ExpertRange& range : moetrain::expert_ranges(moe, recipe.registry->experts)) {
        const moetrain::ExpertShape whole{.width = layer->row_width, .activation = recipe.model.activation};
        const moetrain::ExpertShape part = moetrain::part_of(range, whole, work.mesh.expert_tensor);
        for (const moetrain::ExpertWeight& weight : range.preset->weights(part, moe)) {
          if (weight.dims.size() != 2) continue;
          for (const ProductKind kind :
               {ProductKind::kForward, ProductKind::kInputGradient, ProductKind::kWeightGradient}) {
            const GroupedShape shape{kind, weight.dims[0], weight.dims[1], std::max<int64_t>(1, rows)};
            if (std::ranges::find(all, shape, &ProductsOfExperts::shape) != all.end()) continue;
            all.push_back({shape, std::max<int64_t>(1, range.count / work.mesh.expert)});
          }
        }
      }
    }
  }
  return all;
}

std::vector<TimedWays> measure_products(const std::vector<ProductsOfExperts>& products,
                                        const std::vector<ProductWay>& ways, parallel::Communicator& control) {
  constexpr double kEnough = 5e8;    // multiply-adds of one round of one way
  constexpr double kSeconds = 0.25;  // of all ways of one shape
  std::vector<TimedWays> all;
  for (const auto& [even, experts] : products) {
    for (const int64_t part : {1, 4}) {
      GroupedShape shape = even;
      shape.rows = even.rows / part;
      if (shape.rows < 1 || (part > 1 && shape.rows == even.rows)) continue;
      const int64_t threads = at::get_num_threads();
      const auto enough = static_cast<int64_t>(std::ceil(kEnough / shape.multiply_adds(1)));
      const int64_t some = std::clamp<int64_t>(enough, std::min(experts, 2 * threads), experts);
      TimedWays timed = moetrain::time_ways(shape, some, ways, kSeconds);
      at::Tensor seconds = at::tensor(timed.seconds, at::kDouble);
      control.all_reduce(seconds, parallel::ReduceOp::kMax).wait();
      for (size_t i = 0; i < ways.size(); ++i) timed.seconds[i] = seconds.const_data_ptr<double>()[i];
      all.push_back(std::move(timed));
    }
  }
  return all;
}

std::vector<ProductWay> ways_of_all(parallel::Communicator& control) {
  std::string own;
  for (const ProductWay& way : moetrain::ways_at_hand()) own += way.describe() + ";";
  const std::vector<std::string> of_ranks = parallel::gather_texts(control, own);
  std::vector<ProductWay> ways = moetrain::ways_at_hand();
  // Several threads take their own experts' products each (in_row_turns), as those that share out rows do.
  const bool several = at::get_num_threads() > 1;
  std::erase_if(ways, [&](const ProductWay& way) {
    return way.spread != several || std::ranges::any_of(of_ranks, [&](const std::string& text) {
             return (";" + text).find(";" + way.describe() + ";") == std::string::npos;
           });
  });
  return ways;
}

std::string product_machine(const Recipe& recipe, parallel::Communicator& control) {
  const std::string own =
      parallel::concat(processor_name(), "; ", recipe.run.threads, " threads; ", moetrain::library_facts());
  const std::vector<std::string> of_ranks = parallel::gather_texts(control, own);
  const std::set<std::string> different(of_ranks.begin(), of_ranks.end());
  std::string text;
  for (const std::string& each : different) text += (text.empty() ? "" : " | ") + each;
  return text;
}

namespace {

moetrain::ProductRule measured_rule(const std::vector<ProductsOfExperts>& products, parallel::Communicator& control) {
  const std::vector<ProductWay> ways = ways_of_all(control);
  return moetrain::rule_of(measure_products(products, ways, control), ways);
}

/// Of those products what the rule has nothing of: another stage may have other matrices.
std::vector<ProductsOfExperts> not_in(const moetrain::ProductRule& rule, std::vector<ProductsOfExperts> products) {
  std::erase_if(products, [&](const ProductsOfExperts& wanted) {
    return std::ranges::any_of(rule.entries, [&](const moetrain::ProductRule::Entry& entry) {
      return entry.shape.kind == wanted.shape.kind && entry.shape.in == wanted.shape.in &&
             entry.shape.out == wanted.shape.out;
    });
  });
  return products;
}

}  // namespace

moetrain::ProductRule measured_rule(const Recipe& recipe, int64_t vocabulary, parallel::Communicator& control) {
  return measured_rule(expert_products(recipe, workload_of(recipe, vocabulary, control.size())), control);
}

void choose_products(const Recipe& recipe, int64_t vocabulary, const RunFolder& folder, const Groups& groups,
                     const std::function<void(const std::string&)>& said) {
  if (recipe.run.matrix_products != MatrixProducts::kMeasured || recipe.run.device != Device::kCpu) return;
  if (recipe.run.precision != Precision::kFloat32) {
    said(parallel::concat("run.matrix_products = \"measured\" is of float32 matrices; those of this run are ",
                          recipe.run.precision, ", and LibTorch multiplies them"));
    return;
  }
  parallel::Communicator& control = *groups.control;
  const std::string machine = product_machine(recipe, control), text = stored_text(folder, control);
  std::vector<ProductsOfExperts> wanted = expert_products(recipe, workload_of(recipe, vocabulary, control.size()));
  StoredProducts chosen{machine, {}};
  if (!text.empty()) {
    StoredProducts stored;
    parallel::all_ranks(control, [&] {
      const std::string place = folder.products().string();
      const auto parsed = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
      if (parsed.is_discarded())
        parallel::user_error(place, ": not JSON; legal: remove it, and the run measures its products anew");
      stored = products_from_json(parsed, place);
    });
    if (stored.machine == machine) {
      wanted = not_in(stored.rule, std::move(wanted));
      if (wanted.empty()) return moetrain::use_products(std::move(stored.rule));
      chosen.rule = std::move(stored.rule);
    } else {
      said(parallel::concat("the products in ", folder.products().string(), " were measured on another machine (",
                            stored.machine, "); measured anew for: ", machine));
    }
  }
  const moetrain::ProductRule measured = measured_rule(wanted, control);
  chosen.rule.entries.insert(chosen.rule.entries.end(), measured.entries.begin(), measured.entries.end());
  parallel::all_ranks(control, [&] {
    if (control.rank() == 0) write_file(folder.products(), products_to_json(chosen).dump(1) + "\n");
  });
  said(parallel::concat("products of experts, measured: ", describe(chosen.rule), " (", machine, ")"));
  moetrain::use_products(std::move(chosen.rule));
}

}  // namespace launch
