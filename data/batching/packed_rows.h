// defines: PackedRows
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace data {

/// Sequences of some lengths packed into rows of at most `capacity` tokens: the longest first, each into the fullest
/// row that it still fits (best fit decreasing). The same lengths give the same rows.
class PackedRows {
 public:
  /// @pre 1 <= each length <= capacity
  PackedRows(const std::vector<int64_t>& lengths, int64_t capacity);

  int64_t size() const { return static_cast<int64_t>(starts_.size()) - 1; }
  std::span<const int64_t> row(int64_t index) const;  // numbers of its sequences
  int64_t tokens(int64_t index) const { return tokens_[static_cast<size_t>(index)]; }

 private:
  std::vector<int64_t> sequences_;  // of all rows, one row after another
  std::vector<int64_t> starts_;     // [rows + 1]
  std::vector<int64_t> tokens_;     // [rows]
};

}  // namespace data
