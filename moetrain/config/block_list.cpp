#include "moetrain/config/block_list.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "parallel/base/fault.h"

namespace moetrain {
namespace {

using parallel::concat;
using parallel::user_error;

/// Reads one text; every refusal names it and its key.
class BlockList {
 public:
  BlockList(const BlockKey& key, std::string_view text, int64_t blocks)
      : key_(key), text_(text), blocks_(blocks), chosen_(static_cast<size_t>(blocks), false) {}

  void choose_every(int64_t period, int64_t first) {
    for (int64_t block = first; block < blocks_; block += period) choose(block);
  }

  /// "every:N", given N.
  void choose_last_of_each(std::string_view period_text) {
    const int64_t period = number(period_text);
    if (period < 1 || period > blocks_) refuse(concat("N must be 1 to the model's blocks (", blocks_, ")"));
    choose_every(period, period - 1);
  }

  /// "1,3,5-7"
  void choose_list(std::string_view list) {
    while (true) {
      const size_t comma = list.find(',');
      choose_range(list.substr(0, comma));
      if (comma == std::string_view::npos) return;
      list.remove_prefix(comma + 1);
    }
  }

  std::vector<bool> chosen() const {
    if (std::ranges::count(chosen_, true) == 0) {
      refuse(
          concat("this is none of the model's blocks (", blocks_, "); say \"none\" for a model without ", key_.what));
    }
    return chosen_;
  }

 private:
  [[noreturn]] void refuse(const std::string& reason) const { user_error(key_.name, " = \"", text_, "\": ", reason); }

  void choose(int64_t block) {
    if (block >= blocks_) {
      refuse(concat("block ", block, " is out of range; legal: 0 to ", blocks_ - 1, ", the model has ", blocks_,
                    " blocks"));
    }
    if (chosen_[static_cast<size_t>(block)]) refuse(concat("block ", block, " is named twice"));
    chosen_[static_cast<size_t>(block)] = true;
  }

  void choose_range(std::string_view text) {
    const size_t dash = text.find('-');
    const int64_t first = number(text.substr(0, dash));
    const int64_t last = dash == std::string_view::npos ? first : number(text.substr(dash + 1));
    if (last < first) refuse(concat("the range ", first, "-", last, " runs backwards"));
    for (int64_t block = first; block <= last; ++block) choose(block);
  }

  int64_t number(std::string_view text) const {
    const size_t first = std::min(text.find_first_not_of(' '), text.size());
    const std::string_view digits = text.substr(first, text.find_last_not_of(' ') + 1 - first);
    int64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (digits.empty() || error != std::errc{} || end != digits.data() + digits.size() || value < 0) {
      refuse(concat("'", digits, "' is no block; legal: \"all\", \"none\", \"odd\", \"even\", \"every:N\" or a list ",
                    "from 0 such as \"1,3\" or \"0,4-11\""));
    }
    return value;
  }

  const BlockKey& key_;
  std::string_view text_;
  int64_t blocks_;
  std::vector<bool> chosen_;
};

}  // namespace

std::vector<bool> chosen_blocks(const BlockKey& key, const std::string& text, int64_t blocks) {
  parallel::check_internal(blocks >= 1, "chosen_blocks: blocks is ", blocks);
  if (text == "none") return std::vector<bool>(static_cast<size_t>(blocks), false);
  BlockList list(key, text, blocks);
  constexpr std::string_view kEvery = "every:";
  if (text == "all") {
    list.choose_every(1, 0);
  } else if (text == "even") {
    list.choose_every(2, 0);
  } else if (text == "odd") {
    list.choose_every(2, 1);
  } else if (text.starts_with(kEvery)) {
    list.choose_last_of_each(std::string_view(text).substr(kEvery.size()));
  } else {
    list.choose_list(text);
  }
  return list.chosen();
}

}  // namespace moetrain
