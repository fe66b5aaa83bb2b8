#include "launch/report/page_notes.h"

#include <cmath>

#include "launch/report/thinning.h"
#include "parallel/base/fault.h"

namespace launch::run_report {
namespace {

int64_t count_gaps(const RunRecord& run) {
  int64_t gaps = 0;
  for (const StepRecord& step : run.steps)
    for (const auto& [name, value] : step.loss) gaps += std::isnan(value) ? 1 : 0;
  for (const EvaluationRecord& evaluation : run.evaluations) gaps += std::isnan(evaluation.loss) ? 1 : 0;
  return gaps;
}

std::string joined(const std::vector<int64_t>& numbers) {
  std::string text;
  for (const int64_t number : numbers) text += (text.empty() ? "" : ", ") + std::to_string(number);
  return text;
}

}  // namespace

std::vector<std::string> page_notes(const RunRecord& run) {
  std::vector<std::string> all;
  const size_t lines = run.steps.size();
  if (!run.resumes.empty())
    all.push_back(parallel::concat("Resumed at step ", joined(run.resumes),
                                   ": what an interrupted part logged after that step is replaced by the later part."));
  if (!run.cut_lines.empty())
    all.push_back(parallel::concat("metrics.jsonl is cut short at line ", joined(run.cut_lines),
                                   ", as by a kill while writing; that line is left out."));
  if (const int64_t gaps = count_gaps(run); gaps > 0)
    all.push_back(parallel::concat(gaps, gaps == 1 ? " loss value is" : " loss values are",
                                   " not finite and left as a gap in its curve."));
  if (lines > kMaxPoints)
    all.push_back(parallel::concat("Of ", lines, " logged steps a curve shows at most ", kMaxPoints,
                                   " points: the smallest and the largest of every stretch, so no peak is lost."));
  if (lines > kMaxColumns)
    all.push_back(parallel::concat("Of ", lines, " logged steps a load map shows ", kMaxColumns,
                                   " columns and the time chart ", kPhaseColumns, ", each the mean of its stretch."));
  return all;
}

}  // namespace launch::run_report
