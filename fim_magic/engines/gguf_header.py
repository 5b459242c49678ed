"""What a GGUF file says of itself, checked before any library reads it.

The libraries believe the counts and lengths that stand there: of a file of 60 bytes with an array of 2^60 texts, one
makes room for all of them, and another looks for each.

Source: docs/gguf.md in ggml-org/ggml.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fim_magic.errors import ModelError
from fim_magic.regular_files import MIB, UnfitFileError, require_regular

MAGIC = b"GGUF"
LARGEST_HEADER = 128 * MIB
"""Bytes before the tensors. The largest vocabularies take 16 MiB."""
MOST_ELEMENTS = 2**22
"""Of one array: 16 times the largest vocabulary. With the two below, it bounds the time that reading takes."""
MOST_KEYS = 2**12
MOST_TENSORS = 2**16
MOST_LAYERS = 512  # as in llama.cpp
MOST_PARTS = 1024
LONGEST_KEY = 2**16 - 1
_MOST_DIMENSIONS = 4  # of ggml
_CHUNK = 2**20

_STRING, _ARRAY = 8, 9
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_WIDTHS = {kind: struct.calcsize(code) for kind, code in _SCALARS.items()}

Scalar = int | float | bool | str


@dataclass(frozen=True)
class TensorPlace:
    """One tensor's entry.

    Attributes:
        name: Its name.
        shape: Fastest dimension first.
        kind: Its number in `ggml_type`.
        offset: From the beginning of the tensors, in bytes.
    """

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int


@dataclass(frozen=True)
class GgufHeader:
    """What stands before the tensors.

    Attributes:
        values: Numbers and texts by their keys.
        lengths: How many elements the arrays have, by their keys.
        tensors: In the file's order.
        begin: Where the tensors begin, in bytes.
    """

    values: Mapping[str, Scalar]
    lengths: Mapping[str, int]
    tensors: tuple[TensorPlace, ...]
    begin: int

    @property
    def parts(self) -> int:
        """How many files there are of it."""
        count = self.values.get("split.count", 1)
        return count if isinstance(count, int) and count > 1 else 1

    @property
    def elements(self) -> int:
        """How many numbers are in all its tensors."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors)

    @property
    def architecture(self) -> str:
        return str(self.values["general.architecture"])


def read_gguf_header(path: Path) -> GgufHeader:
    """Read what stands before a file's tensors, in a time that its size bounds.

    Raises:
        ModelError: It is no GGUF file, or what it says of itself cannot be true.
    """
    size = require_gguf(path)
    try:
        with path.open("rb") as file:
            return _header(_Cursor(file, size))
    except UnfitFileError as error:
        raise ModelError(_cannot_load(path, error)) from error
    except OSError as error:
        raise ModelError(cannot_read(path, error)) from error


def require_gguf(path: Path) -> int:
    """Return the bytes of a regular file that begins as a GGUF file does. It is opened only if it is regular.

    Raises:
        ModelError: It is none.
    """
    try:
        size = require_regular(path).st_size
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise UnfitFileError("it does not begin as a GGUF file does")
    except UnfitFileError as error:
        raise ModelError(_cannot_load(path, error)) from error
    except OSError as error:
        raise ModelError(cannot_read(path, error)) from error
    return size


def require_parts(path: Path) -> None:
    """Check the header of a file, and of those that continue it, which llama.cpp finds by its name.

    Raises:
        ModelError: As of [`read_gguf_header`][].
    """
    parts = read_gguf_header(path).parts
    if parts > MOST_PARTS:
        raise ModelError(_cannot_load(path, UnfitFileError(f"it says that it is one of {parts} parts")))
    begin = path.name.removesuffix(f"-00001-of-{parts:05}.gguf")
    for number in range(2, parts + 1):
        read_gguf_header(path.with_name(f"{begin}-{number:05}-of-{parts:05}.gguf"))


def cannot_read(path: Path, error: OSError) -> str:
    """Say why the system does not let a file be read, and what to do about it."""
    return f"{path} could not be read ({error.strerror or error}). Check the path, and who may read the file."


def _cannot_load(path: Path, error: UnfitFileError) -> str:
    return (
        f"{path} could not be converted: {error}. Name a whole .gguf file; if this one was fetched, it may be "
        "damaged or cut short: compare its size and sha256 with its page, and fetch it again."
    )


class _Cursor:
    """Reads a file from its beginning, no further than its end and `LARGEST_HEADER`."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.size = size
        self.position = 0
        self._file = file
        self._read = bytearray()

    def require(self, count: int, width: int, what: str) -> None:
        """Have so many elements of at least `width` bytes at hand."""
        end = self.position + count * width
        if end > self.size:
            raise UnfitFileError(f"its header has {what} that ends behind the end of the file")
        if end > LARGEST_HEADER:
            raise UnfitFileError(f"its header is larger than {LARGEST_HEADER // MIB} MiB")
        while len(self._read) < end:
            more = self._file.read(max(_CHUNK, end - len(self._read)))
            if not more:
                raise UnfitFileError("it has become shorter while it was read")
            self._read += more

    def number(self, code: str, what: str) -> int:
        """Return a number in one of struct's codes."""
        return int(self._unpacked(code, what))

    def scalar(self, kind: int, what: str) -> Scalar:
        """Return a number or a truth value of one of GGUF's kinds."""
        return self._unpacked(_SCALARS[kind], what)

    def text(self, what: str, at_most: int = LARGEST_HEADER) -> str:
        """Return a text: its length and its bytes."""
        length = self.number("<Q", what)
        if length > at_most:
            raise UnfitFileError(f"its header has {what} of {length} bytes")
        self.require(length, 1, what)
        found = bytes(self._read[self.position : self.position + length])
        self.position += length
        try:
            return found.decode("utf-8")
        except UnicodeDecodeError:
            raise UnfitFileError(f"its header has {what} that is not UTF-8") from None

    def skip(self, count: int, width: int, what: str) -> None:
        """Go past elements of one width."""
        self.require(count, width, what)
        self.position += count * width

    def skip_texts(self, count: int, what: str) -> None:
        """Go past texts."""
        self.require(count, 8, what)
        length_at, read = struct.Struct("<Q").unpack_from, self._read
        for _ in range(count):  # hundreds of thousands
            if self.position + 8 > len(read):
                self.require(1, 8, what)
            self.position += 8 + length_at(read, self.position)[0]
            if self.position > len(read):
                self.require(0, 1, what)

    def _unpacked(self, code: str, what: str) -> Scalar:
        width = struct.calcsize(code)
        self.require(1, width, what)
        (found,) = struct.unpack_from(code, self._read, self.position)
        self.position += width
        value: Scalar = found
        return value


def _header(file: _Cursor) -> GgufHeader:
    file.require(1, 24, "a beginning")
    file.position = len(MAGIC)
    _require_version(file.number("<I", "a version"))
    tensors = _bounded(file.number("<Q", "a count"), MOST_TENSORS, "tensors")
    keys = _bounded(file.number("<Q", "a count"), MOST_KEYS, "keys")
    values: dict[str, Scalar] = {}
    lengths: dict[str, int] = {}
    for _ in range(keys):
        key = file.text("a key", LONGEST_KEY)
        if key in values or key in lengths:
            raise UnfitFileError(f"its header has the key {key[:80]!r} twice")
        kind = file.number("<I", "a kind")
        if kind == _ARRAY:
            lengths[key] = _skip_array(file, key)
        elif kind == _STRING:
            values[key] = file.text("a text")
        elif kind in _SCALARS:
            values[key] = file.scalar(kind, "a value")
        else:
            raise UnfitFileError(f"its header has a value of the unknown kind {kind}")
    places = tuple(_tensor(file) for _ in range(tensors))
    if not isinstance(values.get("general.architecture"), str):
        raise UnfitFileError("its header does not name the architecture")
    return _checked(GgufHeader(values, lengths, places, _begin(file, values)), file.size)


def _require_version(version: int) -> None:
    if version in (2, 3):
        return
    if version & 0xFFFF == 0 and version:
        raise UnfitFileError("it is written for machines with another order of bytes (big endian)")
    raise UnfitFileError(f"it is of version {version} of the format, and versions 2 and 3 can be read")


def _bounded(count: int, most: int, what: str) -> int:
    if count > most:
        raise UnfitFileError(f"its header announces {count} {what}, and {most} are the most that are read")
    return count


def _skip_array(file: _Cursor, key: str) -> int:
    kind = file.number("<I", "a kind")
    count = _bounded(file.number("<Q", "a count"), MOST_ELEMENTS, f"elements of {key[:80]!r}")
    if kind == _STRING:
        file.skip_texts(count, "an array")
    elif kind in _SCALARS:
        file.skip(count, _WIDTHS[kind], "an array")
    else:
        raise UnfitFileError(f"its header has an array of the kind {kind}, which cannot be read")
    return count


def _tensor(file: _Cursor) -> TensorPlace:
    name = file.text("a tensor's name", LONGEST_KEY)
    if not name:
        raise UnfitFileError("its header has a tensor without a name")
    dimensions = _bounded(file.number("<I", "a count"), _MOST_DIMENSIONS, "dimensions of a tensor")
    shape = tuple(file.number("<Q", "a tensor's shape") for _ in range(dimensions))
    return TensorPlace(name, shape, file.number("<I", "a tensor's kind"), file.number("<Q", "a tensor's offset"))


def _begin(file: _Cursor, values: Mapping[str, Scalar]) -> int:
    alignment = values.get("general.alignment", 32)
    if not isinstance(alignment, int) or isinstance(alignment, bool) or alignment < 8 or alignment & (alignment - 1):
        raise UnfitFileError(f"its header aligns tensors by {alignment!r} bytes")
    return math.ceil(file.position / alignment) * alignment


def _checked(header: GgufHeader, size: int) -> GgufHeader:
    """Return a header if its tensors lie in the file, and no two of them have one name."""
    names = {tensor.name for tensor in header.tensors}
    if len(names) != len(header.tensors):
        raise UnfitFileError("its header names a tensor twice")
    layers = header.values.get(f"{header.architecture}.block_count")
    if layers is None and any(name.startswith("blk.") for name in names):
        raise UnfitFileError("its header does not say how many layers it has")
    # Of a file in several parts, the first may have no tensors, and nor has a vocabulary without its model.
    is_whole = header.parts == 1 and bool(header.tensors)
    most = min(len(header.tensors), MOST_LAYERS) if is_whole else MOST_LAYERS
    if isinstance(layers, int) and layers > most:
        raise UnfitFileError(f"its header announces {layers} layers, and has {len(header.tensors)} tensors")
    room = size - header.begin
    for tensor in header.tensors:
        if tensor.offset + _least_bytes(tensor) > max(room, 0):
            raise UnfitFileError(f"the tensor {tensor.name[:80]!r} ends behind the end of the file")
    return header


def _least_bytes(tensor: TensorPlace) -> int:
    """The bytes that a tensor takes; of a kind that is not known here, the least that any takes."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    elements = math.prod(tensor.shape)
    try:
        block, width = GGML_QUANT_SIZES[GGMLQuantizationType(tensor.kind)]
    except (KeyError, ValueError):
        return elements // 8
    return int(elements // block * width)
