#include "data/text/regex.h"

#ifndef PCRE2_CODE_UNIT_WIDTH
#define PCRE2_CODE_UNIT_WIDTH 8
#endif
#include <pcre2.h>

#include <array>
#include <atomic>
#include <optional>
#include <utility>

#include "data/text/oniguruma.h"
#include "data/text/utf8.h"
#include "parallel/base/fault.h"
#include "parallel/base/printable.h"

namespace data {
namespace {

constexpr size_t kLongestExpression = 1 << 16;        // [bytes]; the longest one known to be in use has 2 kB
constexpr uint32_t kMostSteps = 10'000'000;           // of one match
constexpr size_t kLargestJitStack = size_t{8} << 20;  // [bytes]

std::string reason_of(int error) {
  std::array<PCRE2_UCHAR, 256> message{};
  pcre2_get_error_message(error, message.data(), message.size());
  return reinterpret_cast<const char*>(message.data());
}

/// For messages, which are one line and not a page.
std::string shortened(const std::string& expression) {
  constexpr size_t kShown = 200;
  const std::string line = parallel::printable(expression);
  return line.size() <= kShown ? line : line.substr(0, kShown) + " ...";
}

}  // namespace

class Regex::Program {
 public:
  Program(std::string shown, std::string place, const std::string& pattern, uint32_t options,
          const std::vector<size_t>& origins)
      : shown_(shortened(shown)), place_(std::move(place)) {
    if (pattern.size() > kLongestExpression) {
      parallel::user_error(place_, ": a regular expression of ", pattern.size(), " bytes; legal: at most ",
                           kLongestExpression);
    }
    pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    int error = 0;
    PCRE2_SIZE offset = 0;
    code_ =
        pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), options, &error, &offset, context);
    pcre2_compile_context_free(context);
    if (code_ == nullptr) {
      const size_t at = offset < origins.size() ? origins[offset] : shown.size();
      parallel::user_error(place_, ": the regular expression '", shown_, "' does not compile: at byte ", at, ", ",
                           reason_of(error));
    }
    jit_ = pcre2_jit_compile(code_, PCRE2_JIT_COMPLETE) == 0;  // without it, the same matches, slower
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() { pcre2_code_free(code_); }

  void find_all(std::string_view text, std::vector<TextRange>& matches) const {
    std::unique_ptr<Scratch> scratch = take();
    size_t from = 0;
    std::optional<size_t> last_end;
    while (from <= text.size()) {
      if (!find(text, from, *scratch)) break;
      const PCRE2_SIZE* range = pcre2_get_ovector_pointer(scratch->data);
      const TextRange match{range[0], std::max(range[0], range[1])};  // \K in a look-ahead can end before it begins
      if (match.begin == match.end && last_end == match.end) {
        from += from < text.size() ? code_point_bytes(text, from) : 1;
        continue;
      }
      matches.push_back(match);
      from = match.end;
      last_end = match.end;
    }
    give_back(std::move(scratch));
  }

 private:
  /// What a match writes to. PCRE2 wants one for each thread that is matching.
  struct Scratch {
    Scratch(const pcre2_code* code, bool jit) {
      data = pcre2_match_data_create_from_pattern(code, nullptr);
      context = pcre2_match_context_create(nullptr);
      parallel::check_internal(data != nullptr && context != nullptr, "no memory for a regular expression's match");
      pcre2_set_match_limit(context, kMostSteps);
      if (!jit) return;
      stack = pcre2_jit_stack_create(32 << 10, kLargestJitStack, nullptr);
      pcre2_jit_stack_assign(context, nullptr, stack);
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    ~Scratch() {
      pcre2_match_data_free(data);
      pcre2_match_context_free(context);
      pcre2_jit_stack_free(stack);
    }

    pcre2_match_data* data = nullptr;
    pcre2_match_context* context = nullptr;
    pcre2_jit_stack* stack = nullptr;
  };

  bool find(std::string_view text, size_t from, Scratch& scratch) const {
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    const auto run = [&](uint32_t options) {
      return pcre2_match(code_, subject, text.size(), from, options | PCRE2_NO_UTF_CHECK, scratch.data,
                         scratch.context);
    };
    int result = jit_ ? pcre2_jit_match(code_, subject, text.size(), from, 0, scratch.data, scratch.context) : run(0);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = run(PCRE2_NO_JIT);  // which keeps its state on the heap
    if (result == PCRE2_ERROR_NOMATCH) return false;
    if (result < 0) {
      parallel::user_error(place_, ": the regular expression '", shown_, "' costs too much on a text of ", text.size(),
                           " bytes: ", reason_of(result));
    }
    return true;
  }

  /// Where a thread leaves its scratch for its next text: no two of few threads take the same place, or wait for it.
  struct alignas(64) Place {
    ~Place() { delete idle.load(); }
    std::atomic<Scratch*> idle = nullptr;
  };
  Place& own_place() const {
    static std::atomic<size_t> threads = 0;
    thread_local const size_t number = threads++;
    return places_[number % places_.size()];
  }

  std::unique_ptr<Scratch> take() const {
    std::unique_ptr<Scratch> scratch(own_place().idle.exchange(nullptr));
    return scratch != nullptr ? std::move(scratch) : std::make_unique<Scratch>(code_, jit_);
  }

  void give_back(std::unique_ptr<Scratch> scratch) const {
    scratch.reset(own_place().idle.exchange(scratch.release()));
  }

  std::string shown_;
  std::string place_;
  pcre2_code* code_ = nullptr;
  bool jit_ = false;
  mutable std::array<Place, 32> places_;
};

Regex::Regex(const std::string& expression, const std::string& place) {
  const Translation translation = translate_oniguruma(expression, place);
  program_ =
      std::make_shared<Program>(expression, place, translation.pattern,
                                PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, translation.origins);
}

Regex Regex::literal(const std::string& text, const std::string& place) {
  return Regex(std::make_shared<Program>(text, place, text, PCRE2_UTF | PCRE2_LITERAL, std::vector<size_t>{}));
}

Regex Regex::own(const std::string& expression) {
  return Regex(
      std::make_shared<Program>(expression, "moetrain", expression, PCRE2_UTF | PCRE2_UCP, std::vector<size_t>{}));
}

void Regex::find_all(std::string_view text, std::vector<TextRange>& matches) const {
  program_->find_all(text, matches);
}

}  // namespace data
