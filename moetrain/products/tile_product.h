// defines: has_tiles, multiply_by_tiles: products of bf16 in tiles, of any number of rows
#pragma once

namespace moetrain {

struct Product;

/// Whether LibTorch shows oneDNN's products of one tile (at::native::cpublas::brgemm), and this processor has AMX and
/// is not told to leave it alone (DNNL_MAX_CPU_ISA, ATEN_CPU_CAPABILITY). They were tried once.
bool has_tiles();

/// out = left right or out += left right, left and right in bf16 and out in bf16 or float32, on the processor, by all
/// threads at hand, outside autograd. Sums in float32, rounded once. No kernel hangs on how many rows there are,
/// whether they are what is computed or what is summed up over. false, and nothing done, where there are no tiles, or
/// where numbers lie as these do not take them.
bool multiply_by_tiles(const Product& product);

}  // namespace moetrain
