"""Damage to DICOM files, for `fuzz_dicom`: a corpus of sound files and ways to break them.

Every mutation is a function of a sound `Sample` and a random generator, and gives the bytes of a
damaged file, so that a seed names a file. Offsets and lengths are those of PS3.5 chapter 7, of
encapsulated pixel data those of PS3.5 annex A.4.
"""

import io
import struct
import tempfile
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import cv2
import numpy as np
import pydicom
import pydicom.data
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from tests.imaging.make_series import (
    head,
    store,
    transcode,
    write_multi_frame,
    write_single_frames,
)

UNDEFINED = 0xFFFFFFFF
PIXEL_DATA = 0x7FE00010
META = 144
"""Bytes of preamble, "DICM" and the element that holds the length of the rest of group 0002."""

LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT"})
"""VRs whose explicit length has four bytes after two reserved ones (PS3.5 7.1.2)."""

VRS = (b"UN", b"SQ", b"OB", b"OW", b"UT", b"US", b"DS", b"IS", b"FD", b"AT", b"??", b"\0\0")
NUMBER_TEXTS = (
    b"", b"nan", b"inf", b"-1", b"0", b"1,5", b"1A", b"1e400", b"0x10", b"1\\2\\3", b"\\", b"--",
    b"\xff\xfe", b"\0\0", b"9" * 400, b"1e-320", b"99999999999", b"1" + b" " * 70, b"1\\" * 900,
)  # fmt: skip
"""What is written into numeric elements (VR DS, IS and US, tag by tag)."""

NUMBERS = (0, 1, 2, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 64, 255, 4096, 16384, 16385, 65535)
FRAME_TEXTS = (b"0", b"-1 ", b"2 ", b"9999", b"65535 ", b"65536 ", b"999999999 ", b"1e9 ", b"8.5 ")
SHAPE_TAGS = (
    0x00280002, 0x00280006, 0x00280008, 0x00280010, 0x00280011, 0x00280100, 0x00280101,
    0x00280102, 0x00280103, 0x00280120,
)  # fmt: skip
"""SamplesPerPixel ... PixelPaddingValue: what the size and kind of the pixels hang on."""

NUMERIC_TAGS = (
    0x00180050, 0x00180088, 0x00200013, 0x00200032, 0x00200037, 0x00280008, 0x00280010,
    0x00280030, 0x00281052, 0x00281053, 0x00280101,
)  # fmt: skip
LENGTHS = (0, 1, 3, 7, 255, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, UNDEFINED)
SYNTAXES = tuple(
    sorted(one for one, row in uid.UID_dictionary.items() if row[1] == "Transfer Syntax")
)
BOMB_BLOCK = 1 << 20
BOMB_BLOCKS = (64, 1024, 4096)
"""MiB to which a bomb of a few hundred KiB expands."""

NESTING = (13, 100, 1100, 20000)
"""Depths of nested sequences: more than is sensible, and more than Python's recursion limit."""

LARGEST_BUNDLED = 300_000
"""Bytes of the largest of pydicom's bundled files that is taken in, for speed."""


@dataclass(frozen=True)
class Element:
    """Where a root element lies in the bytes of its file."""

    tag: int
    vr: bytes
    """b"" in implicit VR."""

    start: int
    length_at: int
    length_size: int
    value: int
    end: int


@dataclass(frozen=True)
class Sample:
    """A sound file, with its data set inflated if it is a deflated one."""

    name: str
    data: bytes
    head: int
    """Where the data set starts, after preamble and file meta information."""

    elements: tuple[Element, ...]
    order: str
    """Byte order for struct: "<" or ">"."""

    deflated: bool

    def find(self, *tags: int) -> list[Element]:
        """The root elements with these tags."""
        return [element for element in self.elements if element.tag in tags]

    @property
    def explicit(self) -> bool:
        """Whether elements state their VR."""
        return bool(self.elements and self.elements[0].vr)

    @property
    def pixels(self) -> Element | None:
        """The Pixel Data element."""
        return next(iter(self.find(PIXEL_DATA)), None)

    @property
    def fragments(self) -> list[tuple[int, int]]:
        """Start and end of every item of encapsulated pixel data, the offset table first."""
        pixels, found = self.pixels, list[tuple[int, int]]()
        if pixels is None or self.number(pixels.length_at, 4) != UNDEFINED:
            return found
        at = pixels.value
        while self.data[at : at + 4] == b"\xfe\xff\x00\xe0":
            end = at + 8 + self.number(at + 4, 4)
            found.append((at, end))
            at = end
        return found

    def number(self, at: int, size: int) -> int:
        """An unsigned integer of 2 or 4 bytes."""
        return int(struct.unpack_from(self.order + {2: "H", 4: "I"}[size], self.data, at)[0])

    def pack(self, value: int, size: int) -> bytes:
        """An unsigned integer of 2 or 4 bytes, cut to what fits."""
        return struct.pack(self.order + {2: "H", 4: "I"}[size], value & ((1 << 8 * size) - 1))

    def element(self, tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
        """A new element in the encoding of this file."""
        size = len(value) if length is None else length
        start = self.pack(tag >> 16, 2) + self.pack(tag & 0xFFFF, 2)
        if not self.explicit:
            return start + self.pack(size, 4) + value
        if vr in LONG_VRS:
            return start + vr + b"\0\0" + self.pack(size, 4) + value
        return start + vr + self.pack(size, 2) + value


def parse_sample(name: str, data: bytes) -> Sample:
    """Find the root elements of a sound file, up to the first of undefined length."""
    meta = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True).file_meta
    start = META + meta.FileMetaInformationGroupLength
    syntax = meta.TransferSyntaxUID
    deflated = syntax == uid.DeflatedExplicitVRLittleEndian
    if deflated:
        data = data[:start] + zlib.decompress(data[start:], -zlib.MAX_WBITS)
    order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
    elements, at = [], start
    while at + 8 <= len(data):
        group, number = struct.unpack_from(order + "HH", data, at)
        vr = b"" if syntax == uid.ImplicitVRLittleEndian else data[at + 4 : at + 6]
        size = 2 if vr and vr not in LONG_VRS else 4
        length_at = at + 4 if not vr else at + 6 if size == 2 else at + 8
        (length,) = struct.unpack_from(order + ("H" if size == 2 else "I"), data, length_at)
        value = length_at + size
        end = len(data) if length == UNDEFINED else min(value + length, len(data))
        elements.append(Element(group << 16 | number, vr, at, length_at, size, value, end))
        at = end
    return Sample(name, data, start, tuple(elements), order, deflated)


def make_corpus() -> list[Sample]:
    """One sound file of every kind that can be encoded here, and pydicom's bundled images."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of pydicom's files are odd on purpose
        _write_kinds(Path(folder))
        files = {
            path.parent.name: path.read_bytes() for path in sorted(Path(folder).rglob("*.dcm"))
        }
        files.update(_bundled_images())
    return [parse_sample(name, data) for name, data in sorted(files.items())]


def _write_kinds(root: Path) -> None:
    """Write one file per encoding, each in a folder named after it."""
    image = head(1)
    words = {
        "int16": image,
        "uint16": image.astype(np.uint16),
        "uint8": (image // 8).astype(np.uint8),
        "int32": image.astype(np.int32),
    }
    native = {
        "implicit": uid.ImplicitVRLittleEndian,
        "big-endian": uid.ExplicitVRBigEndian,
        "deflated": uid.DeflatedExplicitVRLittleEndian,
    }
    encoded = {
        "rle": uid.RLELossless,
        "jpeg-lossless": uid.JPEGLossless,
        "jpeg-lossless-sv1": uid.JPEGLosslessSV1,
        "jpeg-ls": uid.JPEGLSLossless,
        "jpeg2000": uid.JPEG2000Lossless,
    }
    for name, pixels in words.items():
        write_single_frames(root / name, store(pixels))
    for name, syntax in native.items():
        write_single_frames(root / name, store(image), syntax=syntax)
    for name, syntax in encoded.items():
        for kind in ("int16", "uint8"):
            write_single_frames(root / f"{name}-{kind}", store(words[kind]))
            transcode(root / f"{name}-{kind}", syntax)
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [2000, 0, 16])
    table.add_new("LUTData", "US", list(range(2000)))
    special: dict[str, dict[str, Any]] = {
        "padding": {"PixelPaddingValue": 24, "PixelPaddingRangeLimit": 30},
        "monochrome1": {"PhotometricInterpretation": "MONOCHROME1"},
        "12-bit": {"BitsStored": 12, "HighBit": 11},
        "modality-lut": {"RescaleSlope": None, "ModalityLUTSequence": Sequence([table])},
    }
    for name, tags in special.items():
        write_single_frames(root / name, store(words["uint16"]), tags=tags)
    volume = store(head(4))
    for name, compress in {"": "", "-rle": uid.RLELossless, "-j2k": uid.JPEG2000Lossless}.items():
        write_multi_frame(root / f"enhanced{name}" / "x.dcm", volume, compress=compress)
    _write_jpeg(root / "int16" / "1.2.3.9.1.dcm", words["uint8"][0], root / "jpeg" / "x.dcm")


def _write_jpeg(template: Path, image: np.ndarray, target: Path) -> None:
    """A JPEG baseline file, encoded with OpenCV."""
    dataset = pydicom.dcmread(template)
    stream = bytes(cv2.imencode(".jpg", image)[1])
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    target.parent.mkdir()
    dataset.save_as(target, enforce_file_format=True)


def _bundled_images() -> dict[str, bytes]:
    """Small grey images of pydicom; other modalities are relabelled MR, to be read at all."""
    found = {}
    for path in sorted((Path(pydicom.data.__file__).parent / "test_files").glob("*.dcm")):
        dataset = pydicom.dcmread(path, force=True)
        grey = str(dataset.get("PhotometricInterpretation", "")).startswith("MONOCHROME")
        stated = "TransferSyntaxUID" in dataset.file_meta
        if not grey or not stated or path.stat().st_size > LARGEST_BUNDLED:
            continue
        if dataset.get("Modality") not in ("CT", "MR"):
            dataset.Modality = "MR"
            dataset.SOPClassUID = uid.MRImageStorage
        for element in map(dataset.get_item, dataset.keys()):
            if element.VR == "SQ" and not element.is_raw:
                element.is_undefined_length = False  # `parse_sample` goes from length to length
        buffer = io.BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        found[f"pydicom-{path.stem}"] = buffer.getvalue()
    return found


Mutation = Callable[[Sample, Random], bytes]
"""Damaged bytes of a sample, deflated data still inflated; raises `Inapplicable`."""


class Inapplicable(Exception):
    """This sample has nothing that this mutation could break."""


def _choose(random: Random, elements: list[Element]) -> Element:
    if not elements:
        raise Inapplicable
    return random.choice(elements)


def _splice(data: bytes, start: int, end: int, new: bytes) -> bytes:
    return data[:start] + new + data[end:]


def _flip(data: bytes, random: Random, start: int, end: int) -> bytes:
    """One to eight bits of a range flipped."""
    if end <= start:
        raise Inapplicable
    changed = bytearray(data)
    for _ in range(random.randint(1, 8)):
        changed[random.randrange(start, end)] ^= 1 << random.randrange(8)
    return bytes(changed)


def flip_anywhere(sample: Sample, random: Random) -> bytes:
    """Flip bits of the whole file."""
    return _flip(sample.data, random, 0, len(sample.data))


def flip_header(sample: Sample, random: Random) -> bytes:
    """Flip bits of the file meta information and the elements before the pixels."""
    return _flip(sample.data, random, 128, sample.pixels.start if sample.pixels else 0)


def flip_pixels(sample: Sample, random: Random) -> bytes:
    """Flip bits of the pixel data and what follows them."""
    pixels = sample.pixels
    return _flip(sample.data, random, pixels.start if pixels else 0, len(sample.data))


def truncate(sample: Sample, random: Random) -> bytes:
    """Cut the file off anywhere, or a few bytes before its end."""
    keep = random.randrange(len(sample.data))
    return sample.data[: random.choice((keep, len(sample.data) - random.randint(1, 40)))]


def move_bytes(sample: Sample, random: Random) -> bytes:
    """Insert, remove or repeat a chunk."""
    at, size = random.randrange(len(sample.data)), random.choice((1, 2, 4, 8, 64, 500))
    chunk = sample.data[at : at + size]
    new = random.choice((b"", chunk * 2, random.randbytes(size) + chunk))
    return _splice(sample.data, at, at + size, new)


def set_length(sample: Sample, random: Random) -> bytes:
    """Give an element a length that is not its value's."""
    element = _choose(random, list(sample.elements))
    length = sample.number(element.length_at, element.length_size)
    new = random.choice((*LENGTHS, length - 1, length + 1, length + 2, random.randrange(1 << 16)))
    end = element.length_at + element.length_size
    return _splice(sample.data, element.length_at, end, sample.pack(new, element.length_size))


def undefined_length(sample: Sample, random: Random) -> bytes:
    """Give an element with a long length an undefined one, with or without a delimiter."""
    element = _choose(random, [one for one in sample.elements if one.length_size == 4])
    data = _splice(sample.data, element.length_at, element.value, sample.pack(UNDEFINED, 4))
    delimiter = sample.pack(0xFFFE, 2) + sample.pack(0xE0DD, 2) + bytes(4)
    return _splice(data, element.end, element.end, random.choice((b"", delimiter)))


def set_vr(sample: Sample, random: Random) -> bytes:
    """State another VR."""
    element = _choose(random, [one for one in sample.elements if one.vr])
    return _splice(sample.data, element.start + 4, element.start + 6, random.choice(VRS))


def _replace(sample: Sample, element: Element, value: bytes) -> bytes:
    new = sample.element(element.tag, element.vr, value)
    return _splice(sample.data, element.start, element.end, new)


def absurd_shape(sample: Sample, random: Random) -> bytes:
    """Set Rows, Columns, NumberOfFrames, a bit depth or the like to an absurd number."""
    element = _choose(random, sample.find(*SHAPE_TAGS))
    if element.tag == 0x00280008:
        return _replace(sample, element, random.choice(FRAME_TEXTS))
    number = random.choice((*NUMBERS, random.randrange(1 << 16)))
    return _replace(sample, element, sample.pack(number, 2))


def add_frames(sample: Sample, random: Random) -> bytes:
    """Claim several frames in a file that has one."""
    if sample.find(0x00280008):
        raise Inapplicable
    rows = _choose(random, sample.find(0x00280010))
    new = sample.element(0x00280008, b"IS", random.choice(FRAME_TEXTS))
    return _splice(sample.data, rows.start, rows.start, new)


def text_in_numbers(sample: Sample, random: Random) -> bytes:
    """Write text, or nothing, where a number belongs."""
    element = _choose(random, sample.find(*NUMERIC_TAGS))
    return _replace(sample, element, random.choice(NUMBER_TEXTS))


def huge_value(sample: Sample, random: Random) -> bytes:
    """Give a text element 60,000 characters."""
    element = _choose(random, [one for one in sample.elements if one.tag != PIXEL_DATA])
    return _replace(sample, element, random.choice((b"1.", b"A", b"\\", b"../")) * 20_000)


def drop_element(sample: Sample, random: Random) -> bytes:
    """Leave an element out."""
    element = _choose(random, list(sample.elements))
    return _splice(sample.data, element.start, element.end, b"")


def duplicate_element(sample: Sample, random: Random) -> bytes:
    """Repeat an element, with its value or with that of another."""
    element, other = (_choose(random, list(sample.elements)) for _ in range(2))
    value = sample.data[random.choice((element, other)).value :][: element.end - element.value]
    at = random.choice((element.end, other.start))
    return _splice(sample.data, at, at, sample.element(element.tag, element.vr, value))


def reorder_elements(sample: Sample, random: Random) -> bytes:
    """Shuffle all elements, or move one."""
    parts = [sample.data[one.start : one.end] for one in sample.elements]
    if random.random() < 0.5:
        random.shuffle(parts)
    else:
        parts.insert(random.randrange(len(parts)), parts.pop(random.randrange(len(parts))))
    return sample.data[: sample.head] + b"".join(parts)


def nest_sequences(sample: Sample, random: Random) -> bytes:
    """Put in sequences within sequences, closed or without an end."""
    depth = random.choice(NESTING)
    tag = random.choice((0x00081140, 0x00283000, 0x52009229, 0x52009230, 0x00091001))
    item = sample.pack(0xFFFE, 2) + sample.pack(0xE000, 2) + sample.pack(UNDEFINED, 4)
    opened = sample.element(tag, b"SQ", b"", UNDEFINED) + item
    closed = b"".join(
        sample.pack(0xFFFE, 2) + sample.pack(number, 2) + bytes(4) for number in (0xE00D, 0xE0DD)
    )
    new = opened * depth + random.choice((b"", closed * depth))
    later = [one for one in sample.elements if one.tag > tag]
    at = later[0].start if later else len(sample.data)
    return _splice(sample.data, at, at, new)


def break_fragments(sample: Sample, random: Random) -> bytes:
    """Damage the items of encapsulated pixel data: tags, lengths, number, order, delimiter."""
    items = sample.fragments
    if len(items) < 2:
        raise Inapplicable
    start, end = random.choice(items)
    data, whole = sample.data, sample.data[start:end]
    cut = random.randrange(8, max(end - start, 9))
    halves = whole[:4] + sample.pack(cut - 8, 4) + whole[8:cut]
    halves += whole[:4] + sample.pack(end - start - cut, 4) + whole[cut:]
    return random.choice(
        (
            _flip(data, random, start, start + 8),
            _splice(data, start + 4, start + 8, sample.pack(random.choice(LENGTHS), 4)),
            _splice(data, start, end, b""),
            _splice(data, start, end, whole * random.choice((2, 500))),
            _splice(data, start, end, halves),
            _splice(data, start, start, whole[:4] + bytes(4)),
            data[: items[-1][1]],
        )
    )


def break_offset_table(sample: Sample, random: Random) -> bytes:
    """Write a basic offset table that points anywhere."""
    items = sample.fragments
    if len(items) < 2:
        raise Inapplicable
    start, end = items[0]
    count = random.choice((1, len(items) - 1, 7, 5000))
    offsets = [random.choice((*LENGTHS, random.randrange(4096))) for _ in range(count)]
    table = b"".join(sample.pack(offset, 4) for offset in offsets)
    new = sample.data[start : start + 4] + sample.pack(len(table), 4) + table
    return _splice(sample.data, start, end, new)


STREAM_HEADERS = (b"\xff\x51", b"\xff\xc0", b"\xff\xc1", b"\xff\xc3", b"\xff\xf7", b"\xff\x52")
"""Markers of JPEG 2000 SIZ and COD and of the frame headers of JPEG and JPEG-LS."""


def break_code_stream(sample: Sample, random: Random) -> bytes:
    """Write other sizes, depths or offsets into the header of a compressed frame."""
    items = sample.fragments[1:]
    if not items:
        raise Inapplicable
    start, end = random.choice(items)
    stream = sample.data[start + 8 : end]
    markers = [at for at in map(stream.find, STREAM_HEADERS) if at >= 0]
    base = random.choice(markers) + 2 if markers else 0  # no marker: the header of RLE
    if base >= len(stream):
        raise Inapplicable
    changed = bytearray(stream)
    for _ in range(random.randint(1, 3)):
        at = base + random.randrange(min(64 if not markers else 40, len(stream) - base))
        value = random.choice((b"\xff", b"\0", b"\x7f\xff\xff\xff", b"\0\1", random.randbytes(4)))
        changed[at : at + len(value)] = value
    return _splice(sample.data, start + 8, end, bytes(changed[: end - start - 8]))


def swap_syntax(sample: Sample, random: Random) -> bytes:
    """State another transfer syntax than that of the data."""
    meta = sample.data[: sample.head]
    at = meta.find(struct.pack("<HH", 2, 0x10))
    if at < 0:
        raise Inapplicable
    (length,) = struct.unpack_from("<H", meta, at + 6)
    new = random.choice(SYNTAXES).encode()
    new += b"\0" * (len(new) % 2)
    element = meta[at : at + 6] + struct.pack("<H", len(new)) + new
    return _splice(sample.data, at, at + 8 + length, element)


def deflate_bomb(sample: Sample, random: Random) -> bytes:
    """A deflated data set that expands to gigabytes of zeros, in the pixel data or after them."""
    if not sample.explicit or sample.order == ">" or sample.fragments or not sample.pixels:
        raise Inapplicable
    meta = swap_to_deflated(sample.data[: sample.head])
    body = sample.data[sample.head : sample.pixels.start]
    blocks = random.choice(BOMB_BLOCKS)
    length = random.choice((0xFFFFFFFE, UNDEFINED, blocks * BOMB_BLOCK, 960))
    body += sample.element(PIXEL_DATA, b"OW", b"", length)
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    start = squeeze.compress(body) + squeeze.flush(zlib.Z_FULL_FLUSH)
    block = squeeze.compress(bytes(BOMB_BLOCK)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    return meta + start + block * blocks + squeeze.flush(zlib.Z_FINISH)


def swap_to_deflated(meta: bytes) -> bytes:
    """The same preamble and file meta information, of a deflated file."""
    at = meta.find(struct.pack("<HH", 2, 0x10))
    (length,) = struct.unpack_from("<H", meta, at + 6)
    new = uid.DeflatedExplicitVRLittleEndian.encode()
    element = meta[at : at + 6] + struct.pack("<H", len(new)) + new
    return _splice(meta, at, at + 8 + length, element)


MUTATIONS: tuple[Mutation, ...] = (
    flip_anywhere,
    flip_header,
    flip_pixels,
    truncate,
    move_bytes,
    set_length,
    undefined_length,
    set_vr,
    absurd_shape,
    add_frames,
    text_in_numbers,
    huge_value,
    drop_element,
    duplicate_element,
    reorder_elements,
    nest_sequences,
    break_fragments,
    break_offset_table,
    break_code_stream,
    swap_syntax,
    deflate_bomb,
)

SECOND_MUTATION = 0.2
"""Share of files that also get some of their bits flipped."""


def mutate(corpus: list[Sample], seed: int, index: int) -> tuple[str, str, bytes]:
    """The damaged file of a number.

    Args:
        corpus: sound files, see `make_corpus`.
        seed: of the series of files.
        index: number of the file; classes of damage take turns.

    Returns:
        Name of the damage, name of the sample, bytes of the file.
    """
    random = Random(f"{seed} {index}")
    mutation = MUTATIONS[index % len(MUTATIONS)]
    while True:
        sample = random.choice(corpus)
        try:
            data = mutation(sample, random)
        except Inapplicable:
            continue
        break
    if sample.deflated and mutation is not swap_syntax:
        body = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        data = data[: sample.head] + body.compress(data[sample.head :]) + body.flush()
    if random.random() < SECOND_MUTATION and data and mutation is not deflate_bomb:
        data = _flip(data, random, min(128, len(data) - 1), len(data))
    return mutation.__name__, sample.name, data
