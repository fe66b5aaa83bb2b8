#include "launch/interchange/adapters.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "launch/checkpoint/checkpoint.h"
#include "launch/interchange/output_folder.h"
#include "parallel/base/fault.h"

namespace launch::interchange {
namespace {

using moetrain::Adapter;

/// The view's numbers, in at least float32.
at::Tensor tensor_of(const ParameterViews& parameters, const std::string& name) {
  const auto found = parameters.find(name);
  if (found == parameters.end()) parallel::user_error("parameter '", name, "' is missing: an adapter needs it");
  const TensorView& view = found->second;
  const at::ScalarType type = scalar_type_of(view.dtype);
  const at::Tensor there = at::from_blob(const_cast<void*>(view.data), view.shape, at::TensorOptions(type));
  return type == at::kDouble ? there : there.to(at::kFloat);
}

/// One or more adapters of one module or parameter of transformers' model, as peft has them.
struct PeftTarget {
  std::vector<std::pair<int64_t, const Adapter*>> parts;  // by the first output of each
  int64_t outputs = 0;
};

[[noreturn]] void refuse(const Adapter& adapter) {
  parallel::user_error("the adapter of '", adapter.layer, "' is of a layer that transformers keeps otherwise, so that ",
                       "peft has no place for it; legal: an export without --adapter, which merges it");
}

/// By transformers' name, ".weight" included.
std::map<std::string, PeftTarget> targets_of(const std::vector<TensorRule>& rules, const moetrain::Adapters& adapters) {
  const RuleMap by_source = rules_by_source(rules), by_target = rules_by_target(rules);
  std::map<std::string, PeftTarget> targets;
  for (const Adapter& adapter : adapters.all()) {
    const auto found = by_source.find(adapter.weight);
    if (found == by_source.end() || found->second.size() != 1) refuse(adapter);
    const TensorRule& rule = *found->second.front();
    const bool plain = rule.size.size() == 1 && by_target.at(rule.target).size() == 1;
    const bool stacked = rule.size.size() == 3 && rule.target_shape.size() == 3 && rule.target_strides[1] == 1 &&
                         rule.target_strides[2] == rule.size[1] && rule.target_shape[2] == rule.size[1];
    if (rule.scale != 1 || !(adapter.of_experts ? stacked : plain)) refuse(adapter);
    PeftTarget& target = targets[rule.target];
    target.outputs = rule.target_shape[adapter.of_experts ? 1 : 0];
    target.parts.emplace_back(adapter.of_experts ? rule.target_offset / rule.size[1] : 0, &adapter);
  }
  for (auto& [name, target] : targets) std::ranges::sort(target.parts);
  return targets;
}

struct Factors {
  at::Tensor a, b;  // [rank, inputs], [outputs, rank]; of E experts E ranks, of A one expert after the other, of B
                    // the first column of each expert, then the second
  int64_t rank = 0;
};

// P parts, E experts, I inputs, R rank of one part, O outputs of all

Factors factors_of(const PeftTarget& target, const ParameterViews& parameters) {
  std::vector<at::Tensor> a_EIR, b_ERO;
  for (const auto& [first, adapter] : target.parts) {
    const at::Tensor a = tensor_of(parameters, adapter->a), b = tensor_of(parameters, adapter->b);
    if (!adapter->of_experts) return {a, b, a.size(0)};
    a_EIR.push_back(a);
    b_ERO.push_back(at::constant_pad_nd(b, {first, target.outputs - first - b.size(2)}));
  }
  const at::Tensor a = at::cat(a_EIR, 2), b = at::cat(b_ERO, 1);
  return {a.transpose(1, 2).flatten(0, 1), b.permute({2, 1, 0}).flatten(1), a.size(2)};
}

TensorToWrite tensor_to_write(const std::string& name, const at::Tensor& tensor) {
  const at::Tensor plain = tensor.to(at::kFloat).contiguous();
  return {
      .name = "base_model.model." + name, .dtype = "F32", .shape = plain.sizes().vec(), .fill = [plain](auto bytes) {
        std::memcpy(bytes.data(), plain.const_data_ptr(), bytes.size());
      }};
}

std::string without_end(const std::string& name, const std::string& end) {
  return name.ends_with(end) ? name.substr(0, name.size() - end.size()) : name;
}

/// As a regular expression that fits nothing else.
std::string literal(const std::string& name) {
  std::string text;
  for (const char letter : name) text += letter == '.' ? std::string("\\.") : std::string(1, letter);
  return text;
}

/// Names as peft's config lists them, and the tensors of its file.
struct PeftAdapter {
  Json modules = Json::array(), parameters = Json::array();
  Json ranks = Json::object(), alphas = Json::object();
  std::vector<TensorToWrite> tensors;
};

PeftAdapter peft_adapter(const std::map<std::string, PeftTarget>& targets, const ParameterViews& parameters,
                         const moetrain::LoraConfig& config) {
  PeftAdapter peft;
  for (const auto& [name, target] : targets) {
    const Factors factors = factors_of(target, parameters);
    std::string module = without_end(name, ".weight");
    if (!target.parts.front().second->of_experts) {
      peft.modules.push_back(module);
    } else {
      peft.parameters.push_back(name);
      module = name.substr(0, name.rfind('.'));
      // peft wraps the parameters of a module one around the other, the last the outermost.
      const bool inner = name.ends_with(".gate_up_proj") && targets.contains(module + ".down_proj");
      if (inner) module += ".base_layer";
    }
    if (factors.rank != config.rank) {
      peft.ranks[literal(name)] = factors.rank;
      peft.alphas[literal(name)] = config.scale() * static_cast<double>(factors.rank);
    }
    peft.tensors.push_back(tensor_to_write(module + ".lora_A.weight", factors.a));
    peft.tensors.push_back(tensor_to_write(module + ".lora_B.weight", factors.b));
  }
  return peft;
}

}  // namespace

void merge_adapters(ParameterViews& parameters, const moetrain::Adapters& adapters, std::vector<at::Tensor>& merged) {
  const double scale = adapters.config().scale();
  for (const Adapter& adapter : adapters.all()) {
    const at::Tensor weight = tensor_of(parameters, adapter.weight);
    const at::Tensor a = tensor_of(parameters, adapter.a).to(weight.scalar_type());
    const at::Tensor b = tensor_of(parameters, adapter.b).to(weight.scalar_type());
    const at::Tensor sum = adapter.of_experts ? at::baddbmm(weight, a, b, 1, scale) : at::addmm(weight, b, a, 1, scale);
    merged.push_back(sum.contiguous());
    parameters[adapter.weight] = {dtype_name(sum.scalar_type()), sum.sizes().vec(), merged.back().const_data_ptr()};
    parameters.erase(adapter.a);
    parameters.erase(adapter.b);
  }
}

void export_adapters(const ExportSource& source, const moetrain::Adapters& adapters, const std::string& base,
                     const std::filesystem::path& folder) {
  TensorRules collected(ExpertsStored::kTogether);
  family_of(source).tensors(collected, source.shape);
  const moetrain::LoraConfig& lora = adapters.config();
  const PeftAdapter peft = peft_adapter(targets_of(collected.take(), adapters), source.parameters, lora);
  Json config = {{"peft_type", "LORA"},
                 {"task_type", "CAUSAL_LM"},
                 {"base_model_name_or_path", base},
                 {"r", lora.rank},
                 {"lora_alpha", lora.alpha},
                 {"lora_dropout", lora.dropout},
                 {"bias", "none"},
                 {"fan_in_fan_out", false},
                 {"inference_mode", true},
                 {"init_lora_weights", true},
                 {"target_modules", peft.modules},
                 {"rank_pattern", peft.ranks},
                 {"alpha_pattern", peft.alphas}};
  if (!peft.parameters.empty()) config["target_parameters"] = peft.parameters;
  OutputFolder output(folder);
  output.write_text("adapter_config.json", config.dump(2) + "\n");
  write_safetensors(output.path("adapter_model.safetensors"), peft.tensors);
  output.commit();
}

}  // namespace launch::interchange
