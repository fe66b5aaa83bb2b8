// What turns a word into tokens: byte-pair encoding or Unigram.
// defines: SubwordModel, ModelSource, make_subword_model
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "data/text/json_value.h"

namespace data {

/// Immutable, so any number of threads may use one.
class SubwordModel {
 public:
  virtual ~SubwordModel() = default;
  /// The tokens of a word, which is not empty.
  virtual void append(std::string_view word, std::vector<int32_t>& tokens) const = 0;

  virtual std::optional<int32_t> find(std::string_view piece) const = 0;
  /// By token; empty where a token has no piece.
  virtual const std::vector<std::string>& pieces() const = 0;
  virtual int64_t piece_count() const = 0;
  virtual double score(int32_t token) const = 0;
  virtual std::optional<int32_t> unknown() const = 0;
  /// Characters without a piece become tokens of their bytes, "<0x00>" to "<0xFF>".
  virtual bool falls_back_to_bytes() const = 0;
};

/// The "model" of a tokenizer.json. No word becomes one of the pieces that `controls` holds, whatever it spells.
/// UserError with the place for an unknown kind, tokens that two pieces share, merges of pieces that are none, and
/// vocabularies beyond any sense.
std::unique_ptr<const SubwordModel> make_subword_model(const JsonValue& value, const std::set<std::string>& controls);

}  // namespace data
