"""Safetensors files read and written from the format's definition, with numpy alone.

A tensor is its type's name, its shape and its bytes: what numpy has no type for (bfloat16, float8) stays as it is.
"""
import json
import math
import pathlib
import struct

import numpy

INDEX = "model.safetensors.index.json"
WIDTH = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E8M0": 1, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1}


class Tensor:
    def __init__(self, dtype, shape, data):
        self.dtype, self.shape, self.data = dtype, list(shape), bytes(data)
        expected = math.prod(self.shape) * WIDTH[dtype]
        assert len(self.data) == expected, f"{dtype} {self.shape} has {len(self.data)} bytes, not {expected}"

    def __eq__(self, other):
        return (self.dtype, self.shape, self.data) == (other.dtype, other.shape, other.data)

    def bytes_array(self):
        """The bytes of a type of one byte, in the tensor's shape."""
        return numpy.frombuffer(self.data, numpy.uint8).reshape(self.shape)

    def floats(self):
        """Exact float32 of F32, F16 and BF16."""
        if self.dtype == "BF16":
            wide = numpy.frombuffer(self.data, "<u2").astype("<u4") << 16
            return wide.view("<f4").reshape(self.shape)
        kind = {"F32": "<f4", "F16": "<f2"}[self.dtype]
        return numpy.frombuffer(self.data, kind).astype(numpy.float32).reshape(self.shape)


def from_floats(values, dtype="F32"):
    """Rounds to nearest, ties to even."""
    values = numpy.ascontiguousarray(values, "<f4")
    if dtype == "BF16":
        bits = values.view("<u4").astype(numpy.uint64)
        data = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    else:
        data = values.astype({"F32": "<f4", "F16": "<f2"}[dtype])
    return Tensor(dtype, values.shape, data.tobytes())


def from_bytes(values, dtype="U8"):
    return Tensor(dtype, values.shape, numpy.ascontiguousarray(values, numpy.uint8).tobytes())


def split(path):
    """The header as an object, and the bytes behind it."""
    content = pathlib.Path(path).read_bytes()
    length, = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join(path, header, data):
    """`header`: an object, or the text of one."""
    text = header if isinstance(header, (str, bytes)) else json.dumps(header, separators=(",", ":"))
    text = text.encode("utf-8") if isinstance(text, str) else text
    text += b" " * (-len(text) % 8)
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)


def read(path):
    header, data = split(path)
    header.pop("__metadata__", None)
    return {name: Tensor(entry["dtype"], entry["shape"], data[slice(*entry["data_offsets"])])
            for name, entry in header.items()}


def write(path, tensors):
    header, data, at = {"__metadata__": {"format": "pt"}}, [], 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [at, at + len(tensor.data)]}
        data.append(tensor.data)
        at += len(tensor.data)
    join(path, header, b"".join(data))


def files_of(folder):
    """Tensor's name -> its file, in the index' order."""
    folder = pathlib.Path(folder)
    if (folder / INDEX).exists():
        return {name: folder / file for name, file in json.loads((folder / INDEX).read_text())["weight_map"].items()}
    return {name: folder / "model.safetensors" for name in read(folder / "model.safetensors")}


def read_folder(folder):
    files = files_of(folder)
    contents = {file: read(file) for file in set(files.values())}
    return {name: contents[file][name] for name, file in files.items()}


def write_folder(folder, tensors, shards=1):
    """Replaces the folder's weights; as `save_pretrained` names them."""
    folder = pathlib.Path(folder)
    for old in [*folder.glob("*.safetensors"), *folder.glob(INDEX)]:
        old.unlink()
    if shards == 1:
        return write(folder / "model.safetensors", tensors)
    names, weight_map = list(tensors), {}
    assert shards <= len(names), f"{len(names)} tensors in {shards} shards"
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        own = names[shard * len(names) // shards : (shard + 1) * len(names) // shards]
        write(folder / file, {name: tensors[name] for name in own})
        weight_map.update((name, file) for name in own)
    size = sum(len(tensor.data) for tensor in tensors.values())
    index = {"metadata": {"total_parameters": sum(math.prod(tensor.shape) for tensor in tensors.values()),
                          "total_size": size}, "weight_map": weight_map}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")
