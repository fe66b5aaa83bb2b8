// Counter-based random numbers: every draw is a function of (seed, purpose, layer, step, GLOBAL index) and of
// nothing else, so that no layout changes it.
// Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (Philox4x32-10).
// defines: hash_name, RandomStream, permuted_index
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace parallel {

/// Philox4x32-10: 128-bit counter, 64-bit key, four 32-bit words.
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

/// 64-bit FNV-1a of a name: how a purpose or a parameter's name becomes part of a key.
uint64_t hash_name(std::string_view name);

/// The draws of one (seed, purpose, layer, step); the index is always a global one.
class RandomStream {
 public:
  RandomStream(uint64_t seed, std::string_view purpose, int64_t layer = 0, int64_t step = 0);

  /// 64 random bits for the global index.
  uint64_t bits(int64_t index) const;
  /// Fills `words` with the 16-bit words first, first + 1, ...; word i is piece i % 8 of one Philox block, so that
  /// masks cost an eighth of one draw. Not to be mixed with the other draws of a stream: they share blocks.
  void words16(int64_t first, std::span<uint16_t> words) const;
  /// Uniform in [0, 1), 53 bits.
  double uniform(int64_t index) const;
  /// Standard normal (Box-Muller on the two halves of one Philox block).
  double normal(int64_t index) const;
  /// Uniform integer in [0, bound), bound > 0 (multiply-shift; bias below bound / 2^64).
  int64_t below(int64_t index, int64_t bound) const;

  /// What makes the draws: Philox's key, and the upper half of its counters. For kernels that draw elsewhere.
  std::array<uint32_t, 2> key() const { return key_; }
  std::array<uint32_t, 2> tweak() const { return tweak_; }

 private:
  std::array<uint32_t, 4> block(int64_t index) const;

  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 2> tweak_;
};

/// The image of `index` under a pseudo-random permutation of [0, size): a Feistel network with cycle walking,
/// so a shuffle of any size costs no memory and every rank finds its own part without the rest.
int64_t permuted_index(const RandomStream& stream, int64_t index, int64_t size);

}  // namespace parallel
