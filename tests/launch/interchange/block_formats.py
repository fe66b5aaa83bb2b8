"""Weights in blocks: DeepSeek-V3's float8 and GPT-OSS' MXFP4, written and decoded from their definitions with numpy.

float8: bytes of e4m3 (bias 7, no infinity, 448 the largest) times a float32 per 128 x 128 block, `weight_scale_inv`.
MXFP4: 32 values of e2m1 in 16 bytes, the low half of a byte first, times 2^(byte - 127) per 32 values.
"""
import re

import numpy

from raw_safetensors import from_bytes, from_floats

FLOAT8_BLOCK, FLOAT4_BLOCK = 128, 32
FLOAT8_CONFIG = {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
                 "weight_block_size": [FLOAT8_BLOCK, FLOAT8_BLOCK]}
FLOAT4_CONFIG = {"modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router",
                                            "model.embed_tokens", "lm_head"], "quant_method": "mxfp4"}
FLOAT8_WEIGHTS = re.compile(r"model\.layers\.\d+\.(self_attn\.\w+_proj(_with_mqa)?|mlp\..*(gate|up|down)_proj)\.weight")
FLOAT4_WEIGHTS = re.compile(r"model\.layers\.\d+\.mlp\.experts\.(gate_up|down)_proj")


def minifloat_values(exponent_bits, mantissa_bits, bias):
    """The values of all codes without their sign."""
    codes = numpy.arange(1 << (exponent_bits + mantissa_bits))
    exponent, mantissa = codes >> mantissa_bits, (codes & ((1 << mantissa_bits) - 1)) / (1 << mantissa_bits)
    values = numpy.where(exponent == 0, mantissa * 2.0 ** (1 - bias), (1 + mantissa) * 2.0 ** (exponent - bias))
    return values.astype(numpy.float32)


def e4m3_table():
    positive = minifloat_values(4, 3, 7)
    positive[127] = numpy.nan
    return numpy.concatenate((positive, -positive))


def e2m1_table():
    positive = minifloat_values(2, 1, 1)
    return numpy.concatenate((positive, -positive))


def encode_minifloat(values, positive, sign):
    """Codes of the nearest of `positive` (ascending), ties to the even code; larger ones become the largest.
    `sign`: the bit of negative ones."""
    size = numpy.abs(values)
    above = numpy.clip(numpy.searchsorted(positive, size), 1, len(positive) - 1)
    lower, upper = positive[above - 1].astype(numpy.float64), positive[above].astype(numpy.float64)
    middle = (lower + upper) / 2
    up = (size > middle) | ((size == middle) & (above % 2 == 0))
    return (numpy.where(up, above, above - 1) + sign * numpy.signbit(values)).astype(numpy.uint8)


def spread(scales, shape):
    """A scale for every weight: the block's, also in blocks that the edge cuts."""
    wide = numpy.repeat(numpy.repeat(scales, FLOAT8_BLOCK, axis=0), FLOAT8_BLOCK, axis=1)
    return wide[: shape[0], : shape[1]]


def encode_float8(weights):
    """float32 [R, C] -> bytes [R, C], float32 [ceil(R / 128), ceil(C / 128)]."""
    rows, columns = (-(-size // FLOAT8_BLOCK) for size in weights.shape)
    scales = numpy.ones((rows, columns), numpy.float32)
    for row in range(rows):
        for column in range(columns):
            block = weights[row * FLOAT8_BLOCK :, column * FLOAT8_BLOCK :][:FLOAT8_BLOCK, :FLOAT8_BLOCK]
            scales[row, column] = numpy.abs(block).max() / 448 or 1
    return encode_minifloat(weights / spread(scales, weights.shape), e4m3_table()[:127], 128), scales


def decode_float8(codes, scales):
    return e4m3_table()[codes] * spread(scales, codes.shape)


def encode_mxfp4(weights):
    """float32 [..., R, C] -> blocks [..., R, C / 32, 16], scales [..., R, C / 32]."""
    groups = weights.reshape(*weights.shape[:-1], -1, FLOAT4_BLOCK)
    largest = numpy.abs(groups).max(-1)
    exponent = numpy.where(largest > 0, numpy.floor(numpy.log2(numpy.where(largest > 0, largest, 1))) - 2, -127)
    exponent = numpy.clip(exponent, -127, 127)
    codes = encode_minifloat(groups / numpy.exp2(exponent)[..., None], e2m1_table()[:8], 8)
    return codes[..., 0::2] | (codes[..., 1::2] << 4), (exponent + 127).astype(numpy.uint8)


def decode_mxfp4(blocks, scales):
    """-> float32 [..., R, C]."""
    values = e2m1_table()[numpy.stack((blocks & 15, blocks >> 4), axis=-1)]
    values = values.reshape(*scales.shape, FLOAT4_BLOCK).astype(numpy.float64)
    exact = values * numpy.exp2(scales.astype(numpy.float64) - 127)[..., None]
    with numpy.errstate(over="ignore"):  # beyond float32: infinite
        return exact.reshape(*scales.shape[:-1], -1).astype(numpy.float32)


def to_float8(tensors):
    """A DeepSeek-V3 folder's tensors as published: every projection's weight in float8."""
    made = {}
    for name, tensor in tensors.items():
        if FLOAT8_WEIGHTS.fullmatch(name):
            codes, scales = encode_float8(tensor.floats())
            made[name] = from_bytes(codes, "F8_E4M3")
            made[f"{name}_scale_inv"] = from_floats(scales)
        else:
            made[name] = tensor
    return made


def to_mxfp4(tensors):
    """A GPT-OSS folder's tensors as published: experts in rows of outputs, [E, out, in]."""
    made = {}
    for name, tensor in tensors.items():
        if FLOAT4_WEIGHTS.fullmatch(name):
            blocks, scales = encode_mxfp4(numpy.swapaxes(tensor.floats(), 1, 2))
            made[f"{name}_blocks"], made[f"{name}_scales"] = from_bytes(blocks), from_bytes(scales)
        else:
            made[name] = tensor
    return made


def decode(tensors, name):
    """float32 of a tensor as transformers holds it, however the folder stores it."""
    if f"{name}_scale_inv" in tensors:
        return decode_float8(tensors[name].bytes_array(), tensors[f"{name}_scale_inv"].floats())
    if f"{name}_blocks" in tensors:
        rows = decode_mxfp4(tensors[f"{name}_blocks"].bytes_array(), tensors[f"{name}_scales"].bytes_array())
        return numpy.ascontiguousarray(numpy.swapaxes(rows, 1, 2))
    return tensors[name].floats()


def plain_names(tensors):
    """The names of the tensors as transformers holds them."""
    names = [re.sub(r"_blocks$", "", name) for name in tensors if not re.search(r"_scale_inv$", name)]
    return [name for name in names if not name.endswith("_scales")]


def to_plain(tensors, dtype):
    """Those in blocks decoded and rounded to `dtype`; the rest as they are."""
    return {name: from_floats(decode(tensors, name), dtype)
            if f"{name}_scale_inv" in tensors or f"{name}_blocks" in tensors else tensors[name]
            for name in plain_names(tensors)}
