"""Sound DICOM files for `fuzz_mutations` to break, and where their elements lie."""

import io
import struct
import tempfile
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
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


"""Damaged bytes of a sample, deflated data still inflated; raises `Inapplicable`."""
