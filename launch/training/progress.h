// defines: ProgressDisplay, ProgressLine, WorkLine: what a person sees of a run
#pragma once
#include <cstdint>
#include <string>

namespace launch {

struct ProgressLine {
  int64_t update = 0, length = 1;
  std::string stage = {};  // "2 of 3, router"; empty: there are none
  double loss = 0, gradient_norm = 0;
  double imbalance = 0;  // 0: no experts, not shown
  double tokens_per_second = 0;
  double seconds_left = 0;
};

/// Work whose size is known beforehand.
struct WorkLine {
  std::string what;  // "encoding"
  int64_t done = 0, total = 1;
  std::string unit;     // "MB"
  double per_unit = 1;  // of done and total
  double seconds = 0;   // so far
};

/// A bar that redraws itself on a terminal, plain lines elsewhere. One rank has one; the others have a silent one.
class ProgressDisplay {
 public:
  enum class Style { kBar, kLines, kSilent };
  explicit ProgressDisplay(Style style) : style_(style) {}
  ~ProgressDisplay();

  void show(const ProgressLine& line);
  void show(const WorkLine& line);
  /// A line of its own, above the bar. On standard error once the reader of standard output is gone.
  void say(const std::string& text);
  /// Standard output is a pipe that nobody reads any more (SIGPIPE ignored, as Interrupt does).
  bool reader_gone() const { return reader_gone_; }

 private:
  void show(double share, const std::string& label, const std::string& text);
  void print(const std::string& text);

  Style style_;
  bool bar_drawn_ = false;
  bool reader_gone_ = false;
};

/// kBar where standard output is a terminal. mpirun gives its ranks a terminal of its own even when its output goes to
/// a file, so under it only the environment's MOETRAIN_TERMINAL=1 (set by launch/run) makes a bar.
ProgressDisplay::Style progress_style(bool under_launcher);

}  // namespace launch
