// defines: CarveOut
#pragma once
#include <cstdint>
#include <optional>

namespace parallel {

/// While it lives, matrix products on this process' device leave so many of its multiprocessors to others; 0: none. A
/// product has a block on each multiprocessor from its beginning to its end, and one that finds some taken by an
/// exchange goes round twice. LibTorch keeps the number for the process, and reads it where a product is launched.
class CarveOut {
 public:
  explicit CarveOut(int64_t multiprocessors);
  ~CarveOut();
  CarveOut(const CarveOut&) = delete;
  CarveOut& operator=(const CarveOut&) = delete;

 private:
  std::optional<int32_t> before_;
  bool set_;
};

}  // namespace parallel
