"""Pixel bytes -> the words that were stored, frame by frame, by the fastest permissive decoder.

What the words mean is in `imaging.values`.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from pydicom import uid
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import Decoder

from intracranial.imaging.dicom.codestream import codestream_header
from intracranial.imaging.dicom.decoder_output import caught_output
from intracranial.imaging.dicom.elements import Elements, element, frame_count, integer, text
from intracranial.imaging.dicom.parse import PIXEL_KEYWORDS, DicomFile

PREFERRED_PLUGIN = {
    uid.RLELossless: "pylibjpeg",
    uid.JPEGBaseline8Bit: "pillow",
    uid.JPEGExtended12Bit: "gdcm",
    uid.JPEGLossless: "gdcm",
    uid.JPEGLosslessSV1: "gdcm",
    uid.JPEGLSLossless: "gdcm",
    uid.JPEGLSNearLossless: "gdcm",
    uid.JPEG2000Lossless: "pylibjpeg",
    uid.JPEG2000: "pylibjpeg",
    uid.HTJ2K: "pylibjpeg",
    uid.HTJ2KLossless: "pylibjpeg",
    uid.HTJ2KLosslessRPCL: "pylibjpeg",
}
"""Fastest permissively licensed decoder. GDCM's JPEG 2000 would use every core of a worker, and its
JPEG ends the process over some damage, which Pillow reports."""

DECODED_AS = {uid.JPEGExtended12Bit: uid.JPEGLossless}
"""pydicom hands GDCM no 12-bit JPEG Extended, which GDCM decodes by the stream's own header, as it
does under any other JPEG syntax; the result equals SimpleITK's."""

WITHOUT_HEADER = frozenset({uid.RLELossless})
"""Compression whose frames do not state their size; all others are JPEG of some kind."""

LARGEST_WORD = 16
"""BitsAllocated of compressed images (PS3.5 8.2)."""

LITTLE_ENDIAN = frozenset(
    {uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian}
)

LOSSY = frozenset(
    {
        uid.JPEGBaseline8Bit,
        uid.JPEGExtended12Bit,
        uid.JPEGLSNearLossless,
        uid.JPEG2000,
        uid.HTJ2K,
    }
)


class PixelError(Exception):
    """The pixels of one slice cannot be decoded; `code` is a stable reason."""

    def __init__(self, code: str, message: str) -> None:
        """Keep code and words."""
        super().__init__(message)
        self.code = code


def is_grey(dataset: Elements) -> bool:
    """One sample a pixel, MONOCHROME1 or 2 (or unsaid): neither colour nor palette."""
    samples = integer(dataset, "SamplesPerPixel")
    kind = text(dataset, "PhotometricInterpretation")
    return samples in (None, 1) and kind in ("", "MONOCHROME1", "MONOCHROME2")


def decode_frames(
    file: DicomFile, frames: Sequence[int]
) -> Iterator[tuple[int, np.ndarray | PixelError]]:
    """Stored words of the wanted frames, (rows, cols), or the error of each that is damaged."""
    dtype = _native_dtype(file)
    if dtype is not None:
        yield from ((frame, _native_frame(file.dataset, dtype, frame)) for frame in frames)
        return
    syntax = file.transfer_syntax
    try:
        decoder = get_decoder(DECODED_AS.get(syntax, syntax))
    except NotImplementedError:
        error = _unsupported(syntax, "no decoder knows it")
        yield from ((frame, error) for frame in frames)
        return
    if syntax.is_encapsulated and not decoder.is_available:
        error = _unsupported(syntax, "; ".join(decoder.missing_dependencies))
        yield from ((frame, error) for frame in frames)
        return
    yield from _decode(file, decoder, frames)


def _decode(
    file: DicomFile, decoder: Decoder, frames: Sequence[int]
) -> Iterator[tuple[int, np.ndarray | PixelError]]:
    """As `decode_frames`, through pydicom's decoder of the transfer syntax."""
    options, syntax = _decoder_options(file.dataset), file.transfer_syntax
    plugin = PREFERRED_PLUGIN.get(syntax, "")
    if plugin not in decoder.available_plugins:
        plugin = ""
    encoded = _encoded_frames(file.dataset, options) if syntax.is_encapsulated else None
    for frame in frames:
        try:
            if encoded is None:
                source, index = bytes(element(file.dataset, options["pixel_keyword"])), frame
            else:
                source, index = _one_frame(encoded.get(frame), options, syntax), 0
            with caught_output(file.messages):
                array, _ = decoder.as_array(
                    source, index=index, raw=True, decoding_plugin=plugin, **options
                )
            yield frame, array
        except BaseException as error:
            # Decoders raise whatever their C or Rust library reports; a panic of pylibjpeg-rle on
            # damaged data is not even an Exception.
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            yield frame, PixelError("undecodable_pixels", f"{syntax.name}: {_one_line(error)}")


def _encoded_frames(dataset: Elements, options: dict[str, Any]) -> dict[int, bytes]:
    """Compressed frames (PS3.5 A.4); those after damage are missing.

    Takes the frame count and the offsets out of the options, which are then those of one frame.
    """
    found: dict[int, bytes] = {}
    count, offsets = options["number_of_frames"], options.pop("extended_offsets", None)
    options["number_of_frames"] = 1
    data = bytes(element(dataset, options["pixel_keyword"]) or b"")
    with suppress(Exception):  # damaged fragments provoke no one family of exceptions
        frames = generate_frames(data, number_of_frames=count, extended_offsets=offsets)
        found = dict(zip(range(count), frames, strict=False))
    return found


def _one_frame(frame: bytes | None, options: dict[str, Any], syntax: uid.UID) -> bytes:
    """Wrap a compressed frame for the decoder; one of another size is refused undecoded."""
    if frame is None:
        raise ValueError("the pixel data ends before this frame")
    stated = codestream_header(frame)
    if stated is None and syntax not in WITHOUT_HEADER:
        raise ValueError("the pixel data is no compressed image of that kind")
    wanted = (options["rows"], options["columns"], options["samples_per_pixel"])
    if stated is not None and (stated.rows, stated.columns, stated.samples) != wanted:
        raise ValueError(
            f"the compressed image states {stated.rows} x {stated.columns} x {stated.samples} "
            f"(rows, columns, samples), the header {wanted[0]} x {wanted[1]} x {wanted[2]}"
        )
    if stated is not None and not stated.bits <= options["bits_allocated"] <= LARGEST_WORD:
        raise ValueError(
            f"the compressed image has samples of {stated.bits} bits, BitsAllocated is "
            f"{options['bits_allocated']}"
        )
    return encapsulate([frame], has_bot=False)


def is_native(file: DicomFile) -> bool:
    """Whether `decode_frames` gives the words of the file itself."""
    return _native_dtype(file) is not None


def _native_dtype(file: DicomFile) -> np.dtype | None:
    """Word type of uncompressed whole-byte pixels; None for what pydicom should unpack."""
    allocated = integer(file.dataset, "BitsAllocated")
    little = file.transfer_syntax in LITTLE_ENDIAN
    big = file.transfer_syntax == uid.ExplicitVRBigEndian
    usual = allocated in (8, 16, 32) if little else big and allocated in (16, 32)
    if not usual or not allocated or "PixelData" not in file.dataset.keywords:
        return None
    kind = "i" if integer(file.dataset, "PixelRepresentation") == 1 else "u"
    return np.dtype(f"{'<' if little else '>'}{kind}{allocated // 8}")


def _native_frame(dataset: Elements, dtype: np.dtype, frame: int) -> np.ndarray | PixelError:
    """One uncompressed frame (PS3.5 8.1.1), in the words of the file.

    pydicom's own decoding clears the bits above BitsStored, and with them the value where
    HighBit is not BitsStored - 1.
    """
    rows, columns = integer(dataset, "Rows") or 0, integer(dataset, "Columns") or 0
    size = rows * columns * dtype.itemsize
    data = element(dataset, "PixelData")
    held = len(data) if isinstance(data, bytes | memoryview) else 0
    if held < (frame + 1) * size:
        return PixelError(
            "undecodable_pixels", f"pixel data ends at byte {held} of {(frame + 1) * size}"
        )
    words = np.frombuffer(data, dtype, rows * columns, frame * size)
    return words.reshape(rows, columns)


def _unsupported(syntax: uid.UID, why: str) -> PixelError:
    return PixelError(
        "unsupported_transfer_syntax",
        f"transfer syntax {syntax} ({syntax.name}) cannot be decoded here: {why}; convert the "
        "series to an uncompressed syntax, for example with gdcmconv --raw",
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _decoder_options(dataset: Elements) -> dict[str, Any]:
    """What pydicom's decoders must know, with the usual defaults."""
    keyword = next(name for name in PIXEL_KEYWORDS if name in dataset.keywords)
    allocated = integer(dataset, "BitsAllocated") or (16 if keyword == "PixelData" else None)
    options: dict[str, Any] = {
        "rows": integer(dataset, "Rows"),
        "columns": integer(dataset, "Columns"),
        "number_of_frames": frame_count(dataset),
        "samples_per_pixel": integer(dataset, "SamplesPerPixel") or 1,
        "photometric_interpretation": text(dataset, "PhotometricInterpretation") or "MONOCHROME2",
        "bits_allocated": allocated,
        "pixel_keyword": keyword,
    }
    if keyword == "PixelData":
        options["bits_stored"] = integer(dataset, "BitsStored") or allocated
        options["pixel_representation"] = integer(dataset, "PixelRepresentation") or 0
    offsets = (
        element(dataset, "ExtendedOffsetTable"),
        element(dataset, "ExtendedOffsetTableLengths"),
    )
    if all(offsets):
        options["extended_offsets"] = offsets
    return options
