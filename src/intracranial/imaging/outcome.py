"""How reading a series went: what was left out, what was noticed, and whether anything was lost.

A series is read, read in part (image data of the series itself is missing from the volume) or
rejected (`SeriesError`). `CODES` is the meaning of every code of the notes.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from intracranial.errors import InputError

Effect = Literal["lost", "aside", "noted"]
"""lost: image data of this series is not in the volume; aside: left out, but it never belonged
there; noted: nothing was left out."""

Status = Literal["read", "partial"]


@dataclass(frozen=True)
class Code:
    """One stable code of a note or of something that was left out."""

    effect: Effect
    meaning: str


CODES = {
    # Files that could not be used.
    "empty_file": Code("lost", "the file has no bytes"),
    "unreadable_file": Code("lost", "the operating system refused to open the file"),
    "unreadable_folder": Code("lost", "the operating system refused to list the folder"),
    "broken_link": Code("lost", "a symbolic link leads nowhere or in a circle"),
    "compressed_file": Code("lost", "a gzip or zip file, which is not unpacked"),
    "header_broken": Code("lost", "the header of a DICOM file could not be read to its end"),
    "inflates_too_far": Code("lost", "a deflated file becomes larger than the limit of a series"),
    "changed_while_read": Code("lost", "the file's size changed while it was read"),
    "no_pixels": Code("lost", "an image object without pixel data"),
    "bad_shape": Code("lost", "Rows, Columns or NumberOfFrames are missing, 0 or absurd"),
    "frames_missing": Code("lost", "NumberOfFrames states more frames than the pixel data hold"),
    "modality_missing": Code("lost", "an image without Modality"),
    "series_uid_missing": Code("lost", "an image without SeriesInstanceUID among others with one"),
    "mosaic": Code("lost", "many slices tiled in one image (Siemens mosaic, United Imaging grid)"),
    "unsupported_transfer_syntax": Code("lost", "no installed decoder knows the compression"),
    "undecodable_pixels": Code("lost", "the pixels end too early or their decoder refused them"),
    # Slices that could not be placed.
    "position_missing": Code("lost", "no usable ImagePositionPatient among slices that have one"),
    "orientation_missing": Code("noted", "no usable ImageOrientationPatient in the stack"),
    "mixed_multi_frame": Code(
        "lost", "frames without positions beside single images, or the reverse"
    ),
    "duplicate_sop_conflict": Code("lost", "a second image of one SOPInstanceUID, other pixels"),
    "volume_incomplete": Code("lost", "a slice of another scan where the kept one does not reach"),
    "scattered_series": Code(
        "lost", "an image of its own SeriesInstanceUID, not of one study and geometry with others"
    ),
    "duplicate_position": Code("lost", "another image at the position of a slice, unexplained"),
    # What lies beside the images of the series.
    "not_dicom": Code("aside", "the file is not DICOM"),
    "hidden_file": Code("aside", "a file or folder whose name begins with a dot"),
    "linked_folder": Code("aside", "a symbolic link to a folder, which is not followed"),
    "not_a_file": Code("aside", "a socket, pipe or device"),
    "dicomdir": Code("aside", "a DICOMDIR index"),
    "non_image": Code("aside", "a report, segmentation, plan or other object of no scan"),
    "other_modality": Code("aside", "an image of a modality that is neither CT nor MR"),
    "other_series": Code("aside", "an image of another SeriesInstanceUID"),
    "colour_dropped": Code("aside", "an image in colour"),
    "duplicate_sop": Code("aside", "an exact copy of an image"),
    "duplicate_slice": Code("aside", "an exact copy of a slice under another SOPInstanceUID"),
    "mixed_matrix": Code("aside", "an image of another size than the stack, such as a scout"),
    "mixed_orientation": Code("aside", "an image not parallel to the stack, such as a scout"),
    "mixed_frame_of_reference": Code("aside", "an image of another FrameOfReferenceUID"),
    "volumes_dropped": Code("aside", "another scan of the same place: time, echo, b-value, …"),
    "overlapping_slice": Code("aside", "a slice where two pieces of one scan overlap"),
    "localizer": Code("aside", "an image that was made to plan the scan"),
    "secondary_capture": Code("aside", "a capture of a screen or film, without a place"),
    # What was noticed about the series.
    "uid_differs_from_folder": Code("noted", "SeriesInstanceUID is not the folder's name"),
    "series_uid_per_slice": Code("noted", "every slice has its own SeriesInstanceUID: one scan"),
    "several_patient_ids": Code("noted", "one scan under several PatientIDs: half anonymised?"),
    "study_uid_ignored": Code("noted", "every image has its own StudyInstanceUID"),
    "mosaic_in_name_only": Code("noted", "ImageType says tiles, but the images lie as slices do"),
    "secondary_capture_with_place": Code("noted", "a secondary capture that has a place"),
    "sop_uid_repeated": Code("noted", "one SOPInstanceUID at several positions; all are kept"),
    "sop_uid_missing": Code("noted", "an image without SOPInstanceUID"),
    "frame_of_reference_ignored": Code("noted", "every image has its own FrameOfReferenceUID"),
    "frames_counted": Code("noted", "NumberOfFrames is absent; counted from the pixel bytes"),
    "excess_pixel_data": Code("noted", "pixel data of several frames, the first of which is read"),
    "position_fitted": Code("noted", "position of a slice from the line of the other slices"),
    "order_by_instance_number": Code("noted", "positions do not tell the order of the slices"),
    "order_by_file_name": Code("noted", "neither positions nor InstanceNumber tell the order"),
    "single_position": Code("noted", "slices share one ImagePositionPatient"),
    "single_slice": Code("noted", "the volume is one slice"),
    "two_slices": Code("noted", "the volume is two slices"),
    "geometry_unknown": Code("noted", "positions or orientation missing: never flipped left-right"),
    "pixel_spacing_missing": Code("noted", "millimetres in the image plane are nominal"),
    "pixel_spacing_varies": Code("noted", "PixelSpacing differs a little within the stack"),
    "orientation_varies": Code("noted", "directions differ a little within the stack"),
    "shifted_in_plane": Code("noted", "slices jump along their plane, more than a tilt explains"),
    "irregular_spacing": Code("noted", "steps between slices differ by more than a tenth"),
    "gaps": Code("noted", "steps that are half again as long as the usual one, or longer"),
    "gantry_tilt": Code("noted", "slices are shifted along their plane; nothing is resampled"),
    "oblique_plane": Code("noted", "too oblique for a plane's name: never flipped left-right"),
    "pixels_end_early": Code("noted", "compressed pixels without their end; whole frames are kept"),
    "lossy_compression": Code("noted", "pixels were compressed with loss"),
    "monochrome1_inverted": Code("noted", "MONOCHROME1: inverted, so that high is bright"),
    "modality_lut": Code("noted", "values come from a Modality LUT Sequence"),
    "modality_lut_ignored": Code("noted", "a Modality LUT beside a RescaleSlope, which counts"),
    "real_world_value": Code("noted", "slopes of frames from their real world value mappings"),
    "real_world_value_ignored": Code("noted", "mappings to real world values beside a rescale"),
    "native_pixels": Code("noted", "uncompressed pixels under a compressed transfer syntax"),
    "compressed_pixels": Code("noted", "compressed pixels under an uncompressed transfer syntax"),
    "other_compression": Code("noted", "pixels are compressed otherwise than stated"),
    "pixel_representation_missing": Code("noted", "signed or not is taken from the values"),
    "decimal_comma": Code("noted", "numbers are written with a comma and read as with a point"),
    "decoder_message": Code("noted", "a decoder has said something about the pixels; see the log"),
    "high_bit_shifted": Code("noted", "HighBit is not BitsStored - 1; values are shifted down"),
    "rescale_already_hu": Code("noted", "CT: the stored values are HU; the intercept is ignored"),
    "rescale_unwrapped": Code("noted", "CT: HU stored modulo 4096; negative ones are given back"),
    "rescale_uncertain": Code("noted", "CT: the values do not tell; slope and intercept apply"),
    "rescale_never": Code("noted", "CT: taken as HU as stored, as --rescale never asks"),
    "rescale_missing": Code("noted", "slices without slope and intercept among others with them"),
    "rescale_slope_unusable": Code("noted", "RescaleSlope is 0 or no number and counts as 1"),
    "rescale_intercept_unusable": Code("noted", "RescaleIntercept is no number and counts as 0"),
    "not_finite_pixels": Code("noted", "values that are no numbers count as 0"),
    "blank": Code("noted", "all pixels of the slice have one value"),
}
"""Meaning of the codes in the `notes` columns of train_meta.csv and slices.csv, and in
`Series.left_out`. A note is "code", "code:count" or "code:detail"."""

DETAIL = re.compile(r"[A-Za-z0-9_.]{1,16}")
"""What a header may add to a code; anything else might be text about the person."""


def safe_detail(word: str) -> str:
    """A header's code word for use in notes and messages, "odd" when it is not one."""
    return word if DETAIL.fullmatch(word) else "odd"


def base_code(note: str) -> str:
    """The code of a note, without its count or detail."""
    return note.split(":", 1)[0]


@dataclass(frozen=True)
class LeftOut:
    """One file or frame of a series folder that is not in the volume."""

    file: str
    """Path below the series folder, with forward slashes."""

    frame: int | None
    """0-based frame; None when the file as a whole was left out before its frames were read."""

    code: str
    """Key of `CODES`, with ":detail" where the kind of object is told, such as "non_image:SR"."""

    words: str = ""
    """More than the code's meaning, such as what a decoder says; "" for no more."""

    @property
    def lost(self) -> bool:
        """Whether image data of the series is missing for it; unknown codes count as a loss."""
        code = CODES.get(base_code(self.code))
        return code is None or code.effect == "lost"


class SeriesError(InputError):
    """A series cannot be used; `code` is a stable short reason, `message` says it in words."""

    def __init__(self, code: str, message: str) -> None:
        """Keep code and words; only the words are printed."""
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type["SeriesError"], tuple[str, str]]:
        """Both arguments travel between processes."""
        return (SeriesError, (self.code, self.message))


@dataclass
class Findings:
    """What the steps of reading one series leave out and notice, in one place."""

    left_out: list[LeftOut] = field(default_factory=list)
    noticed: Counter[str] = field(default_factory=Counter)
    """Code -> count for what leaves nothing out."""

    remarks: list[str] = field(default_factory=list)
    """Whole notes that carry their own detail; one replaces the count of its code."""

    messages: list[str] = field(default_factory=list)
    """What decoders have said, each with the file's name; for the log, not for the tables."""

    def leave_out(self, code: str, file: str, frame: int | None = None, words: str = "") -> None:
        """Record a file or frame that is not in the volume."""
        self.left_out.append(LeftOut(file, frame, code, words))

    @property
    def counts(self) -> Counter[str]:
        """Code, with its detail, -> number of files or frames."""
        return self.noticed + Counter(entry.code for entry in self.left_out)

    @property
    def notes(self) -> tuple[str, ...]:
        """Counts as "code:count" in order of the codes, then the remarks."""
        told = {base_code(remark) for remark in self.remarks}
        counted = [
            f"{code}:{count}"
            for code, count in sorted(self.counts.items())
            if base_code(code) not in told
        ]
        return (*counted, *self.remarks)
