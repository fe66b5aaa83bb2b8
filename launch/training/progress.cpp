#include "launch/training/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace launch {
namespace {

constexpr int kBarCells = 24;

std::string duration(double seconds) {
  const auto whole = static_cast<long>(std::lround(std::max(0.0, seconds)));
  char text[32];
  if (whole >= 3600) {
    std::snprintf(text, sizeof(text), "%ldh%02ldm", whole / 3600, whole / 60 % 60);
  } else {
    std::snprintf(text, sizeof(text), "%ldm%02lds", whole / 60, whole % 60);
  }
  return text;
}

std::string numbers(const ProgressLine& line) {
  char text[200], load[40] = "";
  const std::string stage = line.stage.empty() ? "" : "  stage " + line.stage;
  if (line.imbalance > 0) std::snprintf(load, sizeof(load), "load max/mean %.2f  ", line.imbalance);
  std::snprintf(text, sizeof(text), "%lld/%lld  loss %.4f  |g| %.3g  %s%.0f tokens/s  %s left",
                static_cast<long long>(line.update), static_cast<long long>(line.length), line.loss, line.gradient_norm,
                load, line.tokens_per_second, duration(line.seconds_left).c_str());
  return text + stage;
}

std::string numbers(const WorkLine& line) {
  const double done = static_cast<double>(line.done) / line.per_unit,
               total = static_cast<double>(line.total) / line.per_unit;
  const double rate = line.seconds > 0 ? done / line.seconds : 0;
  char text[200];
  std::snprintf(text, sizeof(text), "%.1f/%.1f %s  %.2f %s/s  %s left", done, total, line.unit.c_str(), rate,
                line.unit.c_str(), rate > 0 ? duration((total - done) / rate).c_str() : "?");
  return text;
}

std::string bar(double share) {
  const auto filled = static_cast<int>(kBarCells * share);
  std::string text = "[";
  for (int i = 0; i < kBarCells; ++i) text += i < filled ? "#" : "-";
  return text + "] ";
}

}  // namespace

ProgressDisplay::~ProgressDisplay() {
  if (bar_drawn_) std::fputc('\n', stdout);
}

void ProgressDisplay::print(const std::string& text) {
  errno = 0;  // lines are written as they end, so the write that fails may be either's
  const bool failed = std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0;
  reader_gone_ = reader_gone_ || (failed && errno == EPIPE);
}

void ProgressDisplay::show(double share, const std::string& label, const std::string& text) {
  if (style_ == Style::kSilent || reader_gone_) return;
  if (style_ == Style::kBar) {
    print("\r\033[K" + bar(share) + text);
    bar_drawn_ = true;
  } else {
    print(label + " " + text + "\n");
  }
}

void ProgressDisplay::show(const ProgressLine& line) {
  show(static_cast<double>(line.update) / static_cast<double>(std::max<int64_t>(1, line.length)), "update",
       numbers(line));
}

void ProgressDisplay::show(const WorkLine& line) {
  show(static_cast<double>(line.done) / static_cast<double>(std::max<int64_t>(1, line.total)), line.what,
       style_ == Style::kBar ? line.what + " " + numbers(line) : numbers(line));
}

void ProgressDisplay::say(const std::string& text) {
  if (style_ == Style::kSilent) return;
  if (reader_gone_) {
    std::fprintf(stderr, "%s\n", text.c_str());
    return;
  }
  print((bar_drawn_ ? "\r\033[K" : "") + text + "\n");
  bar_drawn_ = false;
}

ProgressDisplay::Style progress_style(bool under_launcher) {
  const char* told = std::getenv("MOETRAIN_TERMINAL");
  const bool terminal = under_launcher ? told != nullptr && std::string_view(told) == "1" : isatty(STDOUT_FILENO) != 0;
  return terminal ? ProgressDisplay::Style::kBar : ProgressDisplay::Style::kLines;
}

}  // namespace launch
