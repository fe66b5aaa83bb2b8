#include "launch/commands/options/number_option.h"

#include <ATen/Parallel.h>

#include <charconv>
#include <cmath>
#include <cstdio>
#include <optional>
#include <string>
#include <system_error>

#include "parallel/base/fault.h"

namespace launch {
namespace {

/// 1000000 and 1e-06: never hundreds of digits.
std::string short_text(double number) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.15g", number);
  return text;
}

/// All of the text as a number; one that is too large for the type is none (the option's own conversion would take the
/// largest there is).
template <class Number>
std::optional<Number> parse(const std::string& text) {
  Number number{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return number;
}

template <class Number, class IsLegal>
CLI::Validator validator(const std::string& legal, const IsLegal& is_legal) {
  constexpr size_t kMostShown = 40;
  const auto check = [legal, is_legal](const std::string& text) -> std::string {
    const std::optional<Number> number = parse<Number>(text);
    if (number && is_legal(*number)) return {};
    return parallel::concat(text.substr(0, kMostShown), text.size() > kMostShown ? "..." : "", "; legal: ", legal);
  };
  return {[check](std::string& text) { return check(text); }, legal};
}

}  // namespace

CLI::Validator number_between(double low, double high) {
  return validator<double>(short_text(low) + " to " + short_text(high), [low, high](double number) {
    return std::isfinite(number) && number >= low && number <= high;
  });
}

CLI::Validator whole_number_between(int64_t low, int64_t high) {
  const std::string legal = parallel::concat("a whole number, ", low, " to ", high);
  return validator<int64_t>(legal, [low, high](int64_t number) { return number >= low && number <= high; });
}

void add_update_option(CLI::App& command, std::string& update) {
  const CLI::Validator number = whole_number_between(0);
  command
      .add_option("--update", update,
                  "the checkpoint of this update, or \"best\" (of the lowest held-out loss), instead "
                  "of the newest")
      ->check([number](const std::string& text) {
        std::string copy = text;
        return text == "best" ? std::string() : number(copy);
      });
}

void add_compute_threads(CLI::App& command, int64_t& threads) {
  command.add_option("--threads", threads, "that compute; 0: as the run's recipe has it")
      ->check(whole_number_between(0, 1024));
}

void use_compute_threads(int64_t threads) {
  if (threads > 0) at::set_num_threads(static_cast<int>(threads));
}

void add_overrides(CLI::App& command, std::vector<std::string>& overrides) {
  command.add_option("--set", overrides, "section.key=value, over the recipe's; may be repeated")
      ->allow_extra_args(false);
}

void add_stage_option(CLI::App& command, std::string& stage) {
  command.add_option("--stage", stage, "which of train.stages, by its name (of its first turn)");
}

}  // namespace launch
