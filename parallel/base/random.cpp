#include "parallel/base/random.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "parallel/base/fault.h"

namespace parallel {
namespace {

constexpr uint32_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
constexpr int kRounds = 10;
constexpr int64_t kWordsPerBlock = 8;  // of 16 bits

uint32_t low(uint64_t word) { return static_cast<uint32_t>(word); }
uint32_t high(uint64_t word) { return static_cast<uint32_t>(word >> 32); }

/// One round of every block side by side, 32 bits a lane: a loop of constant length without branches, which compilers
/// turn into vector instructions of any machine (3 times faster than a block at a time).
constexpr size_t kBlocksTogether = 16;
using Lanes = std::array<uint32_t, kBlocksTogether>;

void philox_round(std::array<Lanes, 4>& counter, std::array<uint32_t, 2> key) {
  auto& [c0, c1, c2, c3] = counter;
  for (size_t i = 0; i < kBlocksTogether; ++i) {
    const uint64_t product0 = uint64_t{kMultiplier0} * c0[i], product1 = uint64_t{kMultiplier1} * c2[i];
    c0[i] = high(product1) ^ c1[i] ^ key[0];
    c2[i] = high(product0) ^ c3[i] ^ key[1];
    c1[i] = low(product1);
    c3[i] = low(product0);
  }
}

/// Blocks first, first + 1, ... as 16-bit words.
void draw_words(uint64_t first, std::array<uint32_t, 2> key, std::array<uint32_t, 2> tweak,
                std::array<uint16_t, kBlocksTogether * kWordsPerBlock>& words) {
  std::array<Lanes, 4> counter;
  for (size_t i = 0; i < kBlocksTogether; ++i) {
    counter[0][i] = low(first + i);
    counter[1][i] = high(first + i);
    counter[2][i] = tweak[0];
    counter[3][i] = tweak[1];
  }
  for (int round = 0; round < kRounds; ++round) {
    philox_round(counter, key);
    key = {key[0] + kWeyl0, key[1] + kWeyl1};
  }
  for (size_t i = 0; i < kBlocksTogether; ++i) {
    uint16_t* out = words.data() + i * kWordsPerBlock;
    for (const Lanes& lanes : counter) {
      *out++ = static_cast<uint16_t>(lanes[i]);
      *out++ = static_cast<uint16_t>(lanes[i] >> 16);
    }
  }
}

double unit_interval(uint64_t word) { return static_cast<double>(word >> 11) * 0x1.0p-53; }

}  // namespace

std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t product0 = uint64_t{kMultiplier0} * counter[0];
    const uint64_t product1 = uint64_t{kMultiplier1} * counter[2];
    counter = {high(product1) ^ counter[1] ^ key[0], low(product1), high(product0) ^ counter[3] ^ key[1],
               low(product0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

uint64_t hash_name(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

RandomStream::RandomStream(uint64_t seed, std::string_view purpose, int64_t layer, int64_t step) {
  // Two Philox calls absorb the four parts; the second one's counter holds the first one's result.
  const uint64_t purpose_bits = hash_name(purpose);
  const auto first = philox(
      {low(purpose_bits), high(purpose_bits), low(static_cast<uint64_t>(layer)), high(static_cast<uint64_t>(layer))},
      {low(seed), high(seed)});
  const auto second = philox(first, {low(static_cast<uint64_t>(step)), high(static_cast<uint64_t>(step))});
  key_ = {second[0], second[1]};
  tweak_ = {second[2], second[3]};
}

std::array<uint32_t, 4> RandomStream::block(int64_t index) const {
  const auto word = static_cast<uint64_t>(index);
  return philox({low(word), high(word), tweak_[0], tweak_[1]}, key_);
}

uint64_t RandomStream::bits(int64_t index) const {
  const auto words = block(index);
  return (uint64_t{words[1]} << 32) | words[0];
}

void RandomStream::words16(int64_t first, std::span<uint16_t> words) const {
  constexpr size_t kTogether = kBlocksTogether * kWordsPerBlock;
  check_internal(first >= 0, "RandomStream::words16: index ", first);
  std::array<uint16_t, kTogether> drawn{};
  auto skip = static_cast<size_t>(first % kWordsPerBlock);
  auto block_index = static_cast<uint64_t>(first / kWordsPerBlock);
  for (size_t done = 0; done < words.size(); block_index += kBlocksTogether) {
    draw_words(block_index, key_, tweak_, drawn);
    const size_t count = std::min(kTogether - skip, words.size() - done);
    std::copy_n(drawn.begin() + skip, count, words.begin() + static_cast<int64_t>(done));
    done += count;
    skip = 0;
  }
}

double RandomStream::uniform(int64_t index) const { return unit_interval(bits(index)); }

double RandomStream::normal(int64_t index) const {
  const auto words = block(index);
  const double radius_draw = 1.0 - unit_interval((uint64_t{words[1]} << 32) | words[0]);  // in (0, 1]
  const double angle_draw = unit_interval((uint64_t{words[3]} << 32) | words[2]);
  return std::sqrt(-2.0 * std::log(radius_draw)) * std::cos(2.0 * std::numbers::pi * angle_draw);
}

int64_t RandomStream::below(int64_t index, int64_t bound) const {
  check_internal(bound > 0, "RandomStream::below: bound is ", bound);
  const auto product = static_cast<unsigned __int128>(bits(index)) * static_cast<uint64_t>(bound);
  return static_cast<int64_t>(product >> 64);
}

int64_t permuted_index(const RandomStream& stream, int64_t index, int64_t size) {
  check_internal(0 <= index && index < size, "permuted_index: index ", index, " of ", size);
  int half_bits = 1;
  while ((int64_t{1} << (2 * half_bits)) < size) ++half_bits;
  const uint64_t mask = (uint64_t{1} << half_bits) - 1;
  auto value = static_cast<uint64_t>(index);
  do {
    uint64_t left = value >> half_bits, right = value & mask;
    for (int64_t round = 0; round < 4; ++round) {
      // Rounds are told apart by the index's top bits, which no half can reach.
      const uint64_t mixed = left ^ (stream.bits(static_cast<int64_t>(right | (uint64_t(round) << 60))) & mask);
      left = right;
      right = mixed;
    }
    value = (left << half_bits) | right;
  } while (value >= static_cast<uint64_t>(size));
  return static_cast<int64_t>(value);
}

}  // namespace parallel
