// A model small enough to write down: 2 blocks, width 4, 2 heads (1 key/value head), 3 experts 5 wide, 300 tokens.
// defines: TemporaryFolder, tiny_shape, rules_of, ParameterStore, expect_user_error
#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "launch/interchange/hugging_face.h"
#include "parallel/base/fault.h"

namespace launch::interchange {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "interchange_XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed for " + pattern);
    path_ = pattern;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }
  bool is_empty() const { return std::filesystem::is_empty(path_); }

 private:
  std::filesystem::path path_;
};

inline ModelShape tiny_shape() {
  ModelShape shape;
  shape.model.layers = 2;
  shape.model.width = 4;
  shape.model.heads = 2;
  shape.model.kv_heads = 1;
  shape.model.ffn_hidden = 6;
  shape.moe.experts = 3;
  shape.moe.top_k = 2;
  shape.moe.hidden = 5;
  shape.vocabulary_size = 300;
  shape.sequence_length = 16;
  return shape;
}

/// Of the first family that has it.
inline std::vector<TensorRule> rules_of(const ModelShape& shape) {
  TensorRules rules;
  family_for(shape).tensors(rules, shape);
  return rules.take();
}

/// float32 parameters that count up: element i of the n-th parameter added holds 1000 n + i.
class ParameterStore {
 public:
  void add(const std::string& name, const std::vector<int64_t>& shape) {
    std::vector<float>& values = values_[name];
    values.resize(static_cast<size_t>(element_count(shape)));
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(1000 * views_.size() + i);
    views_[name] = {.dtype = "F32", .shape = shape, .data = values.data()};
  }

  /// What a model of this shape consists of.
  void add_all(const ModelShape& shape) {
    for (const TensorRule& rule : rules_of(shape)) {
      if (!rule.source.empty() && !views_.contains(rule.source)) add(rule.source, rule.source_shape);
    }
  }

  ParameterViews& views() { return views_; }
  const std::vector<float>& values(const std::string& name) const { return values_.at(name); }

 private:
  std::map<std::string, std::vector<float>> values_;
  ParameterViews views_;
};

/// The action must raise a UserError whose message holds every one of `words`.
template <class Action>
void expect_user_error(Action action, const std::vector<std::string>& words) {
  try {
    action();
  } catch (const parallel::UserError& error) {
    for (const std::string& word : words) {
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << "'" << word << "' not in: " << error.what();
    }
    return;
  }
  ADD_FAILURE() << "no UserError; expected one with '" << (words.empty() ? "" : words.front()) << "'";
}

}  // namespace launch::interchange
