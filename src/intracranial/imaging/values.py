"""Stored words -> values: bit masks, padding, inversion and rescale, each once.

PS3.5 8.1.1 (bits), PS3.3 C.7.5.1.1.2 (padding), C.7.6.3.1.2 (MONOCHROME1), C.11.1 (rescale).
A word of 8 or 16 bits can only mean one of 256 or 65,536 values, so all of that is done once for
every possible word and each pixel then costs one look-up.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np

from intracranial.imaging.dicom.elements import Elements, element, integer, item, numbers, text
from intracranial.imaging.rescale import unwrap

RescaleKind = Literal["applied", "already_hu", "unwrapped", "never"]
"""What `imaging.rescale.decide` decides."""

SPARSE = 16
"""Every 16th row and column is looked at first to see that an image is not constant."""

TABLES_KEPT = 64
"""Tables of the last pixel formats and rescales; a series with a rescale per slice has as many."""


@dataclass(frozen=True)
class Rescaling:
    """How stored values become modality values; kinds as in `imaging.rescale`."""

    slope: float
    intercept: float
    kind: RescaleKind = "applied"


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


def pixel_format(dataset: Elements, native: bool) -> PixelFormat:
    """Read the pixel format of an image object, with defaults for what is missing."""
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
        native=native,
    )


def _padding(dataset: Elements, allocated: int, signed: bool) -> tuple[int, int] | None:
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


@dataclass(frozen=True, eq=False)
class LookupTable:
    """A Modality LUT (PS3.3 C.11.1.1.1): the first mapped stored value and the outputs."""

    first: int
    outputs: np.ndarray

    def apply(self, stored: np.ndarray) -> np.ndarray:
        """Outputs for stored values; values beyond the table take its first or last entry."""
        index = np.clip(stored.astype(np.int64) - self.first, 0, len(self.outputs) - 1)
        return self.outputs[index]


def modality_table(dataset: Elements) -> LookupTable | None:
    """The Modality LUT of an image that has one instead of a slope."""
    sequence = item(dataset, "ModalityLUTSequence")
    if sequence is None or "RescaleSlope" in dataset.keywords:
        return None
    descriptor = [int(value) for value in numbers(sequence, "LUTDescriptor", 3)]
    if not descriptor:
        return None
    entries = descriptor[0] or 65536
    raw = element(sequence, "LUTData")
    if isinstance(raw, bytes):
        outputs = np.frombuffer(raw, "<u2" if len(raw) >= 2 * entries else "u1")
    else:
        outputs = np.asarray(numbers(sequence, "LUTData"))
    return (
        LookupTable(descriptor[1], outputs[:entries].astype(np.float32)) if len(outputs) else None
    )


def modality_values(
    stored: np.ndarray, rescale: Rescaling, table: LookupTable | None = None
) -> np.ndarray:
    """Stored values -> float32 modality values (HU for CT): slope * stored + intercept, once."""
    if table is not None:
        return table.apply(stored)
    if rescale.kind == "unwrapped":
        return unwrap(stored).astype(np.float32)
    values = stored.astype(np.float32)
    if rescale.kind != "applied":
        return values
    if rescale.slope != 1.0:
        values *= np.float32(rescale.slope)
    if rescale.intercept != 0.0:
        values += np.float32(rescale.intercept)
    return values


@dataclass(frozen=True, eq=False)
class ValueTable:
    """What every possible word of one pixel format means.

    Attributes:
        values: float32 (256,) or (65536,), indexed by the word read as unsigned.
        padded: uint8 of the same length, 1 for words that mean "no pixel here"; None without any.
        finite: False when a value was not finite and has become 0.
    """

    values: np.ndarray
    padded: np.ndarray | None
    finite: bool


@lru_cache(TABLES_KEPT)
def value_table(form: PixelFormat, dtype: str, rescale: Rescaling) -> ValueTable:
    """The table of a pixel format; `dtype` is that of the words, one or two bytes wide."""
    return make_table(form, dtype, rescale, None)


def make_table(
    form: PixelFormat, dtype: str, rescale: Rescaling, lookup: LookupTable | None
) -> ValueTable:
    """As `value_table`, for a Modality LUT too."""
    stored, padded = stored_values(every_word(dtype), form)
    with np.errstate(over="ignore", invalid="ignore"):
        values = modality_values(stored, rescale, lookup)
    finite = bool(np.isfinite(values).all())
    if not finite:
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    return ValueTable(values, None if padded is None else padded.astype(np.uint8), finite)


def every_word(dtype: str) -> np.ndarray:
    """All words of a type, in the order of their unsigned values, (256,) or (65536,)."""
    kind = np.dtype(dtype)
    return np.arange(1 << 8 * kind.itemsize).astype(f"u{kind.itemsize}").view(kind)


def is_constant(array: np.ndarray) -> bool:
    """Whether all elements of an image or a stack of images (..., rows, cols) are equal."""
    first = array.flat[0]
    if (array[..., ::SPARSE, ::SPARSE] != first).any():  # nearly always, and quick
        return False
    return bool((array == first).all())


@dataclass(frozen=True, eq=False)
class Image:
    """One slice, as words and what they mean.

    Attributes:
        words: uint8 or uint16 (rows, cols), contiguous; or float32 values where `table` is None.
        table: float32 (256,) or (65536,) modality value of every word, padding included.
    """

    words: np.ndarray
    table: np.ndarray | None

    def values(self) -> np.ndarray:
        """Modality values, float32 (rows, cols)."""
        return self.words if self.table is None else cv2.LUT(self.words, self.table)

    def is_blank(self) -> bool:
        """Whether all values are equal."""
        return is_constant(self.words)


def make_image(words: np.ndarray, table: ValueTable) -> tuple[Image, bool]:
    """An image whose padding has the lowest valid value of the slice.

    Args:
        words: (rows, cols) of one or two bytes, in native byte order.
        table: of their format.

    Returns:
        The image, and False when every pixel is padding, so that there is no valid value.
    """
    words = np.ascontiguousarray(words).view(f"u{words.itemsize}")
    if table.padded is None or not cv2.LUT(words, table.padded).any():
        return Image(words, table.values), True
    lowest = cv2.minMaxLoc(cv2.LUT(words, filled(table, np.inf)))[0]
    if lowest == np.inf:
        return Image(words, table.values), False
    return Image(words, filled(table, lowest)), True


@lru_cache(TABLES_KEPT)
def filled(table: ValueTable, padding: float) -> np.ndarray:
    """The values of a table with `padding` for every padded word."""
    if table.padded is None:
        return table.values
    values: np.ndarray = np.where(table.padded, np.float32(padding), table.values)
    return values


def fill_padding(values: np.ndarray, padded: np.ndarray | None) -> bool:
    """Set padded pixels of an image without a table to its lowest valid value, in place.

    Returns:
        False when every pixel is padding.
    """
    if padded is None:
        return True
    valid = values[~padded]
    if valid.size == 0:
        return False
    values[padded] = valid.min()
    return True
