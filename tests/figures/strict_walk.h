// What tests of the strict device share: the device, communicators of all ranks on it, and numbers.
// defines: device, floats, halves, group, other_group, ranks, rank, ones, expect_all
#pragma once
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "parallel/comm/accelerator_communicator.h"
#include "tests/support/world.h"

inline at::Device device() {
  static const at::Device opened = parallel::open_accelerator(0);
  return opened;
}

inline at::TensorOptions floats() { return at::TensorOptions(at::kFloat).device(device()); }
inline at::TensorOptions halves() { return floats().dtype(at::kBFloat16); }

/// A communicator of all ranks; fresh ones have connected.
inline std::shared_ptr<parallel::Communicator> group() {
  static const std::shared_ptr<parallel::Communicator> made =
      parallel::accelerator_communicator(*test_mpi_world(), device());
  return made;
}
inline std::shared_ptr<parallel::Communicator> other_group() {
  static const std::shared_ptr<parallel::Communicator> made =
      parallel::accelerator_communicator(*test_mpi_world(), device());
  return made;
}
inline int64_t ranks() { return test_mpi_world()->size(); }
inline int64_t rank() { return test_mpi_world()->rank(); }

/// Ones that every rank has.
inline at::Tensor ones(int64_t count = 1024) { return at::ones({count}, floats()); }

inline void expect_all(const at::Tensor& tensor, double value) {
  const at::Tensor host = tensor.to(at::kCPU, at::kDouble);
  EXPECT_EQ((host - value).abs().max().item<double>(), 0);
}
