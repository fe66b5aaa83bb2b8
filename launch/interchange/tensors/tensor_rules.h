// How moetrain's parameters and the tensors of a Hugging Face architecture hold the same numbers, read in both
// directions. defines: TensorRule, Again, ExpertsStored, TensorRules, rules_by_target, rules_by_source
#pragma once
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

namespace launch::interchange {

/// A tensor that holds the numbers of another one once more, as folders have it of tables that are tied: not one, one
/// that is written and must be there, or one that may be there. What is there must be the same.
enum class Again { kNo, kWritten, kAccepted };

/// Consecutive elements of a parameter, as a block of `size`, and where they lie in a tensor of the folder. Multiplied
/// by `scale` on the way out, divided on the way in.
struct TensorRule {
  std::string target;  // the folder's tensor
  std::vector<int64_t> target_shape;
  std::string source;  // the parameter; empty: the tensor is all zeros, and belongs to no parameter
  std::vector<int64_t> source_shape;
  std::vector<int64_t> size;            // of the block; 1 to 3 dimensions
  int64_t source_offset = 0;            // [elements] of its first element; the others follow
  int64_t target_offset = 0;            // likewise,
  std::vector<int64_t> target_strides;  // [elements] and of its dimensions
  bool buffer = false;                  // the source is no weight
  Again again = Again::kNo;
  float scale = 1;  // a power of two, so that nothing is rounded

  int64_t elements() const;
};

/// Experts of a layer as a tensor each, which is how folders are written, or gate and up of all of them in one and down
/// in another, which some are.
enum class ExpertsStored { kOneByOne, kTogether };

/// Collects the rules of one model.
class TensorRules {
 public:
  /// At most so many rules: a config may claim more tensors than any folder holds.
  explicit TensorRules(ExpertsStored experts = ExpertsStored::kOneByOne,
                       size_t most = std::numeric_limits<size_t>::max())
      : experts_(experts), most_(most) {}
  ExpertsStored experts() const { return experts_; }

  /// The same shape, the same order.
  void copy(const std::string& target, const std::string& source, const std::vector<int64_t>& shape);
  /// [rows, columns] of expert number `expert` of `experts`, which moetrain keeps for row vectors (x_D @ w_DF) and
  /// transformers, expert by expert, as the transpose [columns, rows].
  struct ExpertMatrix {
    int64_t experts = 0, expert = 0, rows = 0, columns = 0;
  };
  void transposed(const std::string& target, const std::string& source, const ExpertMatrix& matrix);
  /// What another tensor is of that parameter already.
  void again(const std::string& target, const std::string& source, const std::vector<int64_t>& shape, Again kind);
  void zeros(const std::string& target, const std::vector<int64_t>& shape);
  void add(TensorRule rule);  // UserError for one too many
  /// Of the rule added last.
  void scale(float scale) { rules_.back().scale = scale; }
  void call_buffer() { rules_.back().buffer = true; }

  std::vector<TensorRule> take() { return std::move(rules_); }

 private:
  ExpertsStored experts_;
  size_t most_;
  std::vector<TensorRule> rules_;
};

/// The rules of each tensor of the folder, and of each parameter in the order of its elements.
using RuleMap = std::map<std::string, std::vector<const TensorRule*>>;
RuleMap rules_by_target(const std::vector<TensorRule>& rules);
/// Without those that are there again. InternalError where a parameter's rules do not cover it exactly once.
RuleMap rules_by_source(const std::vector<TensorRule>& rules);

}  // namespace launch::interchange
