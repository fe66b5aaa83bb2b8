// defines: Sample, Line, fit_line, fit_rising_line, median: seconds as a line over bytes
#pragma once
#include <cstdint>
#include <vector>

namespace parallel {

struct Sample {
  int64_t bytes = 0;
  double seconds = 0;
};

/// seconds = alpha + beta * bytes.
struct Line {
  double alpha = 0;  // [s] what a message of no bytes takes
  double beta = 0;   // [s/byte]
  double r2 = 0;     // share of the samples' variation, each relative to its own size, that the line explains
  double seconds(double bytes) const { return alpha + beta * bytes; }
  double bytes_per_second() const { return beta > 0 ? 1 / beta : 0; }
};

/// The line that is nearest to the samples in relative terms, so that 8 bytes and 4 MiB count alike; a sample far off
/// the others (a busy moment) counts less (Huber). alpha and beta are not negative. @pre two sizes at least
Line fit_line(const std::vector<Sample>& samples);

/// The same of what must take longer the more there is of it: beta > 0. Where disturbed samples say otherwise, the line
/// from nothing through the largest one.
Line fit_rising_line(const std::vector<Sample>& samples);

/// Of an even number the mean of the two in the middle. @pre not empty
double median(std::vector<double> values);

}  // namespace parallel
