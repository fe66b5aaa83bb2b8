#include "launch/interchange/families/rope.h"

#include <cmath>
#include <set>

#include "parallel/base/fault.h"

namespace launch::interchange {
namespace {

using moetrain::RopeKind;

/// One kind's own keys, in both directions.
class RopeKeys {
 public:
  RopeKeys(ConfigKeys& outer, const char* name, Json object) : outer_(outer), name_(name), object_(std::move(object)) {}

  const Json* given(const char* key) {
    known_.insert(key);
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  double number(const char* key, double otherwise) {
    const Json* found = given(key);
    if (found != nullptr && !found->is_number()) refuse(parallel::concat("has a ", key, " that is no number"));
    return found != nullptr ? found->get<double>() : otherwise;
  }
  double needed(const char* key) {
    if (given(key) == nullptr) refuse(parallel::concat("has no ", key));
    return number(key, 0);
  }
  int64_t length(const char* key, int64_t otherwise) {
    const double value = number(key, static_cast<double>(otherwise));
    if (value != std::floor(value) || value < 1 || value > 1e9) refuse(parallel::concat("has a ", key, " of ", value));
    return static_cast<int64_t>(value);
  }
  void check_all_known() const {
    for (const auto& [key, value] : object_.items()) {
      if (!known_.contains(key)) refuse("has the key '" + key + "', which nobody here knows for its kind");
    }
  }
  [[noreturn]] void refuse(const std::string& why) const { outer_.refuse(name_, why); }

 private:
  ConfigKeys& outer_;
  const char* name_;
  Json object_;
  std::set<std::string> known_;
};

void read_llama3(RopeKeys& keys, moetrain::AttentionConfig& attention, int64_t original) {
  auto& llama3 = attention.own<moetrain::Llama3RopeConfig>();
  llama3.factor = keys.needed("factor");
  llama3.low_frequency = keys.needed("low_freq_factor");
  llama3.high_frequency = keys.needed("high_freq_factor");
  llama3.original_length = original;
}

void read_yarn(RopeKeys& keys, moetrain::AttentionConfig& attention, int64_t original) {
  auto& yarn = attention.own<moetrain::YarnConfig>();
  const auto otherwise_if_zero = [&](const char* key, double otherwise) {
    const double value = keys.number(key, otherwise);
    return value == 0 ? otherwise : value;
  };
  yarn.factor = keys.needed("factor");
  yarn.original_length = original;
  yarn.beta_fast = otherwise_if_zero("beta_fast", yarn.beta_fast);
  yarn.beta_slow = otherwise_if_zero("beta_slow", yarn.beta_slow);
  yarn.mscale = keys.number("mscale", 0);
  yarn.mscale_all = keys.number("mscale_all_dim", 0);
  yarn.attention_factor = keys.number("attention_factor", 0);
  if (const Json* truncate = keys.given("truncate")) {
    if (!truncate->is_boolean()) keys.refuse("has a truncate that is neither true nor false");
    yarn.truncate = truncate->get<bool>();
  }
}

void read_rope(ConfigKeys& outer, ModelShape& shape, double theta, const Json& otherwise) {
  const Json* scaling = outer.given("rope_scaling");
  const Json* parameters = outer.given("rope_parameters");
  const bool old_way = scaling != nullptr && !scaling->empty();
  const Json* chosen = old_way ? scaling : parameters != nullptr || otherwise.is_null() ? parameters : &otherwise;
  const char* name = old_way ? "rope_scaling" : "rope_parameters";
  double top = theta;
  outer.key("rope_theta", top, theta);
  int64_t top_original = 0;
  outer.key("original_max_position_embeddings", top_original, int64_t{0});
  if (chosen != nullptr && !chosen->is_object()) outer.refuse(name, "is no object");
  RopeKeys keys(outer, name, chosen != nullptr ? *chosen : Json::object());
  shape.model.rope_theta = keys.number("rope_theta", top);
  const Json* kind = keys.given("rope_type");
  const Json* older = keys.given("type");
  if (kind == nullptr) kind = older;
  const std::string type = kind == nullptr ? "default" : kind->is_string() ? kind->get<std::string>() : kind->dump();
  if (keys.number("partial_rotary_factor", 1) != 1) keys.refuse("turns a part of each head alone; legal: all of it");
  moetrain::AttentionConfig& attention = shape.model.attending;
  const int64_t nested =
      keys.length("original_max_position_embeddings", std::max<int64_t>(1, shape.model.max_positions));
  const int64_t original = top_original > 0 ? top_original : nested;
  if (type == "linear") {
    attention.rope = RopeKind::kLinear;
    attention.own<moetrain::LinearRopeConfig>().factor = keys.needed("factor");
  } else if (type == "llama3") {
    attention.rope = RopeKind::kLlama3;
    read_llama3(keys, attention, original);
  } else if (type == "yarn") {
    attention.rope = RopeKind::kYarn;
    read_yarn(keys, attention, original);
  } else if (type != "default") {
    keys.refuse("is of a kind that moetrain lacks; known: default, linear, llama3, yarn");
  }
  keys.check_all_known();
}

}  // namespace

void rope_keys(ConfigKeys& keys, ModelShape& shape, double theta, const Json& otherwise) {
  if (keys.reads()) return read_rope(keys, shape, theta, otherwise);
  const moetrain::AttentionConfig& attention = shape.model.attending;
  Json rope = {{"rope_type", "default"}, {"rope_theta", shape.model.rope_theta}};
  switch (RopeKind(attention.rope)) {
    case RopeKind::kPlain:
      break;
    case RopeKind::kLinear:
      rope["rope_type"] = "linear";
      rope["factor"] = attention.own<moetrain::LinearRopeConfig>().factor;
      break;
    case RopeKind::kLlama3: {
      const auto& llama3 = attention.own<moetrain::Llama3RopeConfig>();
      rope["rope_type"] = "llama3";
      rope["factor"] = llama3.factor;
      rope["low_freq_factor"] = llama3.low_frequency;
      rope["high_freq_factor"] = llama3.high_frequency;
      rope["original_max_position_embeddings"] = llama3.original_length;
      break;
    }
    case RopeKind::kYarn: {
      const auto& yarn = attention.own<moetrain::YarnConfig>();
      rope["rope_type"] = "yarn";
      rope["factor"] = yarn.factor;
      rope["original_max_position_embeddings"] = yarn.original_length;
      rope["beta_fast"] = yarn.beta_fast;
      rope["beta_slow"] = yarn.beta_slow;
      if (yarn.attention_factor > 0) rope["attention_factor"] = yarn.attention_factor;
      if (yarn.mscale > 0) rope["mscale"] = yarn.mscale;
      if (yarn.mscale_all > 0) rope["mscale_all_dim"] = yarn.mscale_all;
      rope["truncate"] = yarn.truncate;
      break;
    }
  }
  keys.write("rope_theta", shape.model.rope_theta);  // read before transformers 5
  keys.write("rope_parameters", rope);
}

}  // namespace launch::interchange
