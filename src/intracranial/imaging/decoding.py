"""Chosen slices -> images: decode the pixels, settle the rescale once for the series, apply it."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from intracranial.imaging.dicom.headers import SliceHeader
from intracranial.imaging.dicom.parse import PIXEL_KEYWORDS, DicomFile
from intracranial.imaging.dicom.pixels import PixelError, decode_frames, is_native
from intracranial.imaging.geometry import Geometry
from intracranial.imaging.outcome import Findings
from intracranial.imaging.pixels import Policy
from intracranial.imaging.rescale import StoredValues, decide
from intracranial.imaging.values import (
    Image,
    LookupTable,
    PixelFormat,
    RescaleKind,
    Rescaling,
    every_word,
    fill_padding,
    make_image,
    make_table,
    modality_table,
    modality_values,
    pixel_format,
    stored_values,
    value_table,
)

ENOUGH_PIXELS = 500_000
"""About so many are looked at to settle the rescale of CT, spread over rows, columns and slices."""


@dataclass(eq=False)
class Decoded:
    """One slice as it was stored."""

    header: SliceHeader
    words: np.ndarray
    form: PixelFormat
    lookup: LookupTable | None

    @property
    def tabled(self) -> bool:
        """Whether the words are few enough for a table of all of them."""
        return self.words.dtype.kind in "iu" and self.words.dtype.itemsize <= 2


@dataclass
class Volume:
    """What decoding gave, in the order of the headers that were asked for."""

    headers: list[SliceHeader] = field(default_factory=list)
    images: list[Image] = field(default_factory=list)
    errors: list[PixelError] = field(default_factory=list)


def read_volume(
    headers: Sequence[SliceHeader],
    files: dict[str, DicomFile],
    modality: str,
    policy: Policy,
    findings: Findings,
) -> Volume:
    """Decode slices; each header's file gives up its pixel bytes.

    Args:
        headers: slices in their order along the normal.
        files: by `SliceHeader.file`.
        modality: DICOM Modality, "CT" or "MR".
        policy: how the rescale of CT is settled, see `imaging.rescale`.
        findings: gets the slices that do not decode, and what was noticed.

    Returns:
        Images as stored (no transpose, no flip), and the errors of those without one.
    """
    volume = Volume()
    decoded = _decode(headers, files, volume.errors, findings)
    kind: RescaleKind = "applied"
    if modality == "CT" and decoded:
        rescale = decide(
            policy,
            _samples(decoded),
            min(slice_.form.stored for slice_ in decoded),
            decoded[0].form.signed,
            decoded[0].form.padding,
            any(header.position is not None for header in headers),
        )
        kind = rescale.kind
        findings.remarks += rescale.notes
    _apply(decoded, kind, volume, findings)
    return volume


def _decode(
    headers: Sequence[SliceHeader],
    files: dict[str, DicomFile],
    errors: list[PixelError],
    findings: Findings,
) -> list[Decoded]:
    """Stored words of every slice that decodes, in the order of the headers."""
    wanted: dict[str, list[SliceHeader]] = defaultdict(list)
    for header in headers:
        wanted[header.file].append(header)
    found: dict[int, Decoded] = {}
    for name, of_file in wanted.items():
        file = files[name]
        form, lookup = pixel_format(file.dataset, is_native(file)), modality_table(file.dataset)
        frames = {header.frame: header for header in of_file}
        for frame, words in decode_frames(file, list(frames)):
            header = frames[frame]
            if not isinstance(words, PixelError) and words.shape != header.shape:
                words = PixelError("undecodable_pixels", f"pixels are {words.shape}")
            if isinstance(words, PixelError):
                errors.append(words)
                findings.leave_out(words.code, header.file, header.frame, str(words))
            else:
                words = np.ascontiguousarray(words, words.dtype.newbyteorder("="))
                found[id(header)] = Decoded(header, words, form, lookup)
        if file.messages:
            findings.noticed["decoder_message"] += 1
            findings.messages += [f"{name}: {words}" for words in file.messages]
        for keyword in PIXEL_KEYWORDS:  # free the bytes: a series may be a gigabyte
            file.dataset.drop(keyword)
    return [found[id(header)] for header in headers if id(header) in found]


def _samples(decoded: Sequence[Decoded]) -> list[StoredValues]:
    """Histograms of stored values, padding left out, for every rescale and format."""
    alike: dict[tuple[float, float, PixelFormat, str], list[np.ndarray]] = defaultdict(list)
    step = max(math.isqrt(sum(slice_.words.size for slice_ in decoded) // ENOUGH_PIXELS), 1)
    for slice_ in decoded:
        if slice_.tabled and slice_.lookup is None:
            key = (slice_.header.slope, slice_.header.intercept)
            words = slice_.words[::step, ::step].ravel()
            alike[*key, slice_.form, slice_.words.dtype.str].append(words)
    samples = []
    for (slope, intercept, form, dtype), parts in alike.items():
        words = np.concatenate(parts)
        words = words.view(f"u{words.itemsize}")
        found = np.bincount(words, minlength=1 << 8 * words.itemsize)
        stored, padded = stored_values(every_word(dtype), form)
        present = (found > 0) if padded is None else (found > 0) & ~padded
        if present.any():
            first = int(stored[present].min())
            histogram = np.bincount(stored[present] - first, weights=found[present])
            samples.append(StoredValues(slope, intercept, first, histogram.astype(np.int64)))
    return samples


def _apply(
    decoded: Sequence[Decoded], kind: RescaleKind, volume: Volume, findings: Findings
) -> None:
    """Give every word its meaning; a slice that is all padding gets the series' lowest value."""
    unfilled: list[int] = []
    for slice_ in decoded:
        header = slice_.header
        rescaling = Rescaling(header.slope, header.intercept, kind)
        if slice_.tabled:
            dtype = slice_.words.dtype.str
            if slice_.lookup is None:
                table = value_table(slice_.form, dtype, rescaling)
            else:
                table = make_table(slice_.form, dtype, rescaling, slice_.lookup)
            image, filled = make_image(slice_.words, table)
            finite = table.finite
        else:
            image, filled, finite = _without_table(slice_, rescaling)
        if not finite:
            findings.noticed["not_finite_pixels"] += 1
        if not filled:
            unfilled.append(len(volume.images))
        volume.headers.append(header)
        volume.images.append(image)
    if unfilled:
        others = [i for i in range(len(volume.images)) if i not in unfilled]
        lowest = min((volume.images[i].values().min() for i in others), default=np.float32(0))
        for i in unfilled:
            shape = volume.images[i].words.shape
            volume.images[i] = Image(np.full(shape, lowest, dtype=np.float32), None)


def _without_table(slice_: Decoded, rescaling: Rescaling) -> tuple[Image, bool, bool]:
    """Float pixels, and words of four bytes."""
    stored, padded = stored_values(slice_.words, slice_.form)
    with np.errstate(over="ignore", invalid="ignore"):
        values = modality_values(stored, rescaling, slice_.lookup)
    finite = bool(np.isfinite(values).all())
    if not finite:
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    return Image(values, None), fill_padding(values, padded), finite


def oriented(image: Image, how: Geometry) -> Image:
    """Transpose, then flip one image as `imaging.geometry.to_canonical` does."""
    words = image.words
    if how.transpose:
        words = cv2.transpose(words)
    if how.flip_rows or how.flip_cols:
        words = cv2.flip(words, -1 if how.flip_rows and how.flip_cols else int(how.flip_cols))
    return Image(words, image.table)
