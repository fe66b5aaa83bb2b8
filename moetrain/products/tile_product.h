// defines: has_tiles, multiply_by_tiles: products of bf16 in tiles, by kernels that hang on no number of rows
#pragma once

namespace moetrain {

struct Product;

/// Whether this processor has AMX and nobody is told to leave it alone (DNNL_MAX_CPU_ISA, ATEN_CPU_CAPABILITY,
/// MKL_CBWR): then oneDNN's products of one tile, which LibTorch shows (at::native::cpublas::brgemm), were tried once
/// and right. Only beside has_wide_sums(), which takes what does not fit tiles.
bool has_tiles();

/// out = left right or out += left right, left and right in bf16 and out in bf16 or float32, on the processor, outside
/// autograd; threads at hand share out blocks of 64 columns. Sums in float32, rounded once. No kernel hangs on how many
/// rows there are, whether they are what is computed or what is summed up over.
/// false, and nothing done, where there are no tiles, or where they do not take such matrices: right has no multiple of
/// 16 columns; left has fewer than 16 rows, or sums over no multiple of 32 numbers; transposed, no multiple of 16 rows,
/// or a right that is transposed too; or out is not by rows.
bool multiply_by_tiles(const Product& product);

}  // namespace moetrain
