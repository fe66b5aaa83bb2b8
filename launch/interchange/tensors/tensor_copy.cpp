#include "launch/interchange/tensors/tensor_copy.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "parallel/base/fault.h"
#include "parallel/kernels/threads.h"

namespace launch::interchange {
namespace {

/// Calls move(element of the folder's tensor, element of the block) for elements `own` of the block, tile by tile, so
/// that a transposition stays in the cache.
template <class Move>
void walk(const TensorRule& rule, const parallel::ElementRange& own, const Move& move) {
  const size_t dims = rule.size.size();
  const int64_t columns = rule.size.back(), stride = rule.target_strides.back();
  const auto row_start = [&](int64_t row) {
    int64_t at = rule.target_offset;
    for (size_t dim = dims - 1; dim-- > 0; row /= rule.size[dim]) at += row % rule.size[dim] * rule.target_strides[dim];
    return at;
  };
  const auto walk_row = [&](int64_t row, int64_t first, int64_t last) {
    const int64_t start = row_start(row);
    for (int64_t column = first; column < last; ++column) move(start + column * stride, row * columns + column);
  };
  const int64_t end = own.begin + own.count;
  if (own.count == 0) return;
  int64_t row = own.begin / columns;
  if (own.begin % columns != 0 || own.begin + columns > end) {
    walk_row(row, own.begin % columns, std::min(columns, end - row * columns));
    ++row;
  }
  const int64_t last_row = std::max(row, end / columns);
  constexpr int64_t kTile = 64;
  std::array<int64_t, kTile> starts{};
  for (; row < last_row && stride != 1; row = std::min(row + kTile, last_row)) {
    const int64_t rows = std::min(kTile, last_row - row);
    for (int64_t i = 0; i < rows; ++i) starts[static_cast<size_t>(i)] = row_start(row + i);
    for (int64_t column0 = 0; column0 < columns; column0 += kTile) {
      const int64_t column1 = std::min(column0 + kTile, columns);
      for (int64_t i = 0; i < rows; ++i) {
        const int64_t start = starts[static_cast<size_t>(i)], here = (row + i) * columns;
        for (int64_t column = column0; column < column1; ++column) move(start + column * stride, here + column);
      }
    }
  }
  for (; row < last_row; ++row) walk_row(row, 0, columns);
  if (row * columns < end) walk_row(row, 0, end - row * columns);
}

/// The same, in pieces that all threads share out: no two elements of a block are one in the folder's tensor.
template <class Move>
void walk_together(const TensorRule& rule, const parallel::ElementRange& own, const Move& move) {
  constexpr int64_t kPiece = 1 << 17;
  const int64_t columns = std::max<int64_t>(1, rule.size.back());
  const int64_t piece = columns >= kPiece ? kPiece : (kPiece + columns - 1) / columns * columns;
  const int64_t pieces = (own.count + piece - 1) / piece;
  parallel::for_each_part(pieces, [&](int64_t index) {
    const int64_t begin = index * piece;
    walk(rule, {own.begin + begin, std::min(piece, own.count - begin)}, move);
  });
}

/// Calls with a value of the type that the format spells so.
template <class Body>
void with_type(const std::string& dtype, const Body& body) {
  if (dtype == "F32") return body(float{});
  if (dtype == "BF16") return body(c10::BFloat16{});
  if (dtype == "F16") return body(c10::Half{});
  parallel::check_internal(dtype == "F64", "elements of type ", dtype);
  body(double{});
}

template <class Out, class In>
Out converted(In value, double scale, const std::string& name) {
  const double wide = static_cast<double>(value) * scale;
  Out narrow;
  if constexpr (std::is_same_v<Out, double>) {
    narrow = wide;
  } else {
    narrow = static_cast<Out>(static_cast<float>(wide));
  }
  if (std::isinf(static_cast<double>(narrow)) && !std::isinf(wide)) {
    parallel::user_error("'", name, "' holds ", wide, ", which the type it is written as cannot hold");
  }
  return narrow;
}

/// Of a file's bytes, which may stand anywhere.
template <class In>
In loaded(const std::byte* elements, int64_t index) {
  In value;
  std::memcpy(&value, elements + index * static_cast<int64_t>(sizeof(In)), sizeof(In));
  return value;
}

/// `copy` is called with how an element becomes another: bits of one size where types agree, else a conversion.
template <class Copy>
void with_conversion(const std::string& from, const std::string& to, double scale, const std::string& name,
                     const Copy& copy) {
  if (from == to && scale == 1) {
    const auto bits = [](auto value) { return value; };
    switch (element_bytes(from)) {
      case 8:
        return copy(uint64_t{}, uint64_t{}, bits);
      case 4:
        return copy(uint32_t{}, uint32_t{}, bits);
      default:
        return copy(uint16_t{}, uint16_t{}, bits);
    }
  }
  with_type(from, [&](auto in) {
    with_type(to, [&](auto out) {
      using Out = decltype(out);
      copy(in, out, [&](auto value) { return converted<Out>(value, scale, name); });
    });
  });
}

}  // namespace

void read_block(const TensorRule& rule, const TensorView& target, const parallel::ElementRange& own,
                const std::string& dtype, void* out) {
  with_conversion(target.dtype, dtype, 1.0 / rule.scale, rule.target, [&](auto in, auto narrow, const auto& convert) {
    const auto* from = static_cast<const std::byte*>(target.data);
    auto* to = static_cast<decltype(narrow)*>(out);
    walk_together(rule, own, [&](int64_t there, int64_t here) {
      to[here - own.begin] = convert(loaded<decltype(in)>(from, there));
    });
  });
}

void write_block(const TensorRule& rule, const TensorView& source, const std::string& dtype,
                 std::span<std::byte> target) {
  if (rule.source.empty()) return std::fill(target.begin(), target.end(), std::byte{0});
  with_conversion(source.dtype, dtype, rule.scale, rule.source, [&](auto in, auto narrow, const auto& convert) {
    const auto* from = static_cast<const std::byte*>(source.data);
    auto* to = reinterpret_cast<decltype(narrow)*>(target.data());
    walk_together(rule, {0, rule.elements()}, [&](int64_t there, int64_t here) {
      to[there] = convert(loaded<decltype(in)>(from, rule.source_offset + here));
    });
  });
}

}  // namespace launch::interchange
