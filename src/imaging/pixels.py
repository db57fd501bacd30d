"""Pixel bytes -> values: decoding, bit masks, padding, inversion and rescale, each once.

PS3.5 8.1.1 (bits), PS3.3 C.7.5.1.1.2 (padding), C.7.6.3.1.2 (MONOCHROME1), C.11.1 (rescale).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import get_decoder

from src.imaging.dicom import DicomFile
from src.imaging.headers import SliceHeader, frame_count, integer, item, numbers, text

PREFERRED_PLUGIN = {
    uid.RLELossless: "pylibjpeg",
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
"""Fastest permissively licensed decoder; GDCM's JPEG 2000 would use every core of a worker."""

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


@dataclass(frozen=True)
class PixelFormat:
    """How stored values lie in their words.

    Attributes:
        allocated: bits of a word.
        stored: bits that belong to the value.
        high: position of the value's highest bit.
        signed: two's complement.
        padding: lowest and highest stored value that mean "no pixel here", or None.
        inverted: MONOCHROME1, low values are bright.
        native: not compressed, so that words hold what the scanner put there.
    """

    allocated: int
    stored: int
    high: int
    signed: bool
    padding: tuple[int, int] | None
    inverted: bool
    native: bool

    @property
    def limits(self) -> tuple[int, int]:
        """Lowest and highest value that the stored bits can hold."""
        if self.signed:
            return -(1 << (self.stored - 1)), (1 << (self.stored - 1)) - 1
        return 0, (1 << self.stored) - 1


def pixel_format(file: DicomFile) -> PixelFormat:
    """Read the pixel format of an image object, with defaults for what is missing."""
    dataset = file.dataset
    allocated = integer(dataset, "BitsAllocated") or 16
    stored = min(integer(dataset, "BitsStored") or allocated, allocated)
    high = integer(dataset, "HighBit")
    signed = integer(dataset, "PixelRepresentation") == 1
    return PixelFormat(
        allocated=allocated,
        stored=stored,
        high=stored - 1 if high is None else high,
        signed=signed,
        padding=_padding(dataset, allocated, signed),
        inverted=text(dataset, "PhotometricInterpretation") == "MONOCHROME1",
        native=_native_dtype(file) is not None,
    )


def _padding(dataset: Dataset, allocated: int, signed: bool) -> tuple[int, int] | None:
    """The padding range as stored values; a VR of the wrong sign is read as the right one."""
    first = integer(dataset, "PixelPaddingValue")
    if first is None or allocated > 32:
        return None
    last = integer(dataset, "PixelPaddingRangeLimit")
    words = [value & ((1 << allocated) - 1) for value in (first, first if last is None else last)]
    if signed:
        top = 1 << (allocated - 1)
        words = [word - 2 * top if word >= top else word for word in words]
    return min(words), max(words)


def is_grey(dataset: Dataset) -> bool:
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
        decoder = get_decoder(syntax)
    except NotImplementedError:
        error = _unsupported(syntax, "no decoder knows it")
        yield from ((frame, error) for frame in frames)
        return
    if syntax.is_encapsulated and not decoder.is_available:
        error = _unsupported(syntax, "; ".join(decoder.missing_dependencies))
        yield from ((frame, error) for frame in frames)
        return
    prepared = _prepared(file.dataset, syntax)
    plugin = PREFERRED_PLUGIN.get(syntax, "")
    if plugin not in decoder.available_plugins:
        plugin = ""
    many = frame_count(file.dataset) > 1
    for frame in frames:
        try:
            array, _ = decoder.as_array(
                prepared, index=frame if many else None, raw=True, decoding_plugin=plugin
            )
            yield frame, array
        except BaseException as error:
            # Decoders raise whatever their C or Rust library reports; a panic of pylibjpeg-rle on
            # damaged data is not even an Exception.
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            yield frame, PixelError("undecodable_pixels", f"{syntax.name}: {_one_line(error)}")


def _native_dtype(file: DicomFile) -> np.dtype | None:
    """Word type of uncompressed whole-byte pixels; None for what pydicom should unpack."""
    allocated = integer(file.dataset, "BitsAllocated")
    little = file.transfer_syntax in LITTLE_ENDIAN
    big = file.transfer_syntax == uid.ExplicitVRBigEndian
    usual = allocated in (8, 16, 32) if little else big and allocated in (16, 32)
    if not usual or "PixelData" not in file.dataset or not allocated:
        return None
    kind = "i" if integer(file.dataset, "PixelRepresentation") == 1 else "u"
    return np.dtype(f"{'<' if little else '>'}{kind}{allocated // 8}")


def _native_frame(dataset: Dataset, dtype: np.dtype, frame: int) -> np.ndarray | PixelError:
    """One uncompressed frame (PS3.5 8.1.1), in the words of the file.

    pydicom's own decoding clears the bits above BitsStored, and with them the value where
    HighBit is not BitsStored - 1.
    """
    rows, columns = integer(dataset, "Rows") or 0, integer(dataset, "Columns") or 0
    size = rows * columns * dtype.itemsize
    data = dataset.PixelData
    if not isinstance(data, bytes) or len(data) < (frame + 1) * size:
        held = len(data) if isinstance(data, bytes) else 0
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


def _prepared(dataset: Dataset, syntax: uid.UID) -> Dataset:
    """The data set as pydicom's decoders want it: with its syntax and the usual defaults."""
    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    for keyword, value in (("SamplesPerPixel", 1), ("PhotometricInterpretation", "MONOCHROME2")):
        if keyword not in dataset:
            setattr(dataset, keyword, value)
    if "PixelData" in dataset and integer(dataset, "BitsAllocated"):
        if "BitsStored" not in dataset:
            dataset.BitsStored = dataset.BitsAllocated
        if "PixelRepresentation" not in dataset:
            dataset.PixelRepresentation = 0
    return dataset


def stored_values(words: np.ndarray, form: PixelFormat) -> tuple[np.ndarray, np.ndarray | None]:
    """Words -> stored values and the mask of padding.

    Bits outside of BitsStored (old overlays) are masked off, signed values are sign-extended,
    MONOCHROME1 is inverted over the range of the stored bits.

    Args:
        words: (rows, cols), integer of any kind, or float (Float Pixel Data), returned as it is.
        form: the pixel format.

    Returns:
        int32 or float (rows, cols), and bool (rows, cols) or None when nothing is padded.
    """
    if words.dtype.kind == "f" or form.allocated > 16:
        values = words
        padded = _padded(values, form.padding)
        return values, padded
    padded = _padded(words, form.padding)  # before masking: padding may use the unused bits
    values = words.astype(np.int32)
    shift = form.high - form.stored + 1
    if form.native and 0 < shift <= form.allocated - form.stored:
        values >>= shift
    if form.native and form.stored < form.allocated:
        values &= (1 << form.stored) - 1
        if form.signed:
            top = 1 << (form.stored - 1)
            values = (values ^ top) - top
        again = _padded(values, form.padding)
        if again is not None:
            padded = again if padded is None else padded | again
    if form.inverted:
        low, high = form.limits
        values = (low + high) - values
    return values, padded


def _padded(values: np.ndarray, padding: tuple[int, int] | None) -> np.ndarray | None:
    if padding is None:
        return None
    mask: np.ndarray = (values >= padding[0]) & (values <= padding[1])
    return mask if mask.any() else None


def modality_values(
    stored: np.ndarray, header: SliceHeader, table: "LookupTable | None"
) -> np.ndarray:
    """Stored values -> float32 modality values (HU for CT): slope * stored + intercept, once."""
    if table is not None:
        return table.apply(stored)
    values = stored.astype(np.float32)
    if header.slope != 1.0:
        values *= np.float32(header.slope)
    if header.intercept != 0.0:
        values += np.float32(header.intercept)
    return values


def fill_padding(values: np.ndarray, padded: np.ndarray | None) -> bool:
    """Set padded pixels to the lowest valid value of the slice, in place.

    Returns:
        False when every pixel of the slice is padding, so that there is no valid value.
    """
    if padded is None:
        return True
    valid = values[~padded]
    if valid.size == 0:
        return False
    values[padded] = valid.min()
    return True


@dataclass(frozen=True)
class LookupTable:
    """A Modality LUT (PS3.3 C.11.1.1.1): the first mapped stored value and the outputs."""

    first: int
    outputs: np.ndarray

    def apply(self, stored: np.ndarray) -> np.ndarray:
        """Outputs for stored values; values beyond the table take its first or last entry."""
        index = np.clip(stored.astype(np.int64) - self.first, 0, len(self.outputs) - 1)
        return self.outputs[index]


def modality_table(dataset: Dataset) -> LookupTable | None:
    """The Modality LUT of an image that has one instead of a slope."""
    sequence = item(dataset, "ModalityLUTSequence")
    if sequence is None or "RescaleSlope" in dataset:
        return None
    descriptor = [int(value) for value in numbers(sequence, "LUTDescriptor", 3)]
    if not descriptor:
        return None
    entries = descriptor[0] or 65536
    raw = sequence.get("LUTData")
    if isinstance(raw, bytes):
        outputs = np.frombuffer(raw, "<u2" if len(raw) >= 2 * entries else "u1")
    else:
        outputs = np.asarray(numbers(sequence, "LUTData"))
    return (
        LookupTable(descriptor[1], outputs[:entries].astype(np.float32)) if len(outputs) else None
    )
