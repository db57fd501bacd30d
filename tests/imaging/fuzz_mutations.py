"""Damage to DICOM files, for `fuzz_dicom`: a corpus of sound files and ways to break them.

Every mutation is a function of a sound `Sample` and a random generator, and gives the bytes of a
damaged file, so that a seed names a file. Offsets and lengths are those of PS3.5 chapter 7, of
encapsulated pixel data those of PS3.5 annex A.4.
"""

import struct
import zlib
from collections.abc import Callable
from random import Random

from pydicom import uid

from tests.imaging.fuzz_samples import PIXEL_DATA, UNDEFINED, Element, Sample

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


Mutation = Callable[[Sample, Random], bytes]


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
