"""The size in the header of a compressed image."""

import pydicom
import pytest
from pydicom.encaps import generate_frames
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless

from intracranial.imaging.dicom.codestream import Codestream, DamagedStream, codestream_header
from tests.imaging.make_series import head, store, transcode, write_single_frames


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless])
def test_the_size_of_real_streams_is_found(tmp_path, syntax):
    write_single_frames(tmp_path / "s", store(head(1, 24, 36)))
    transcode(tmp_path / "s", syntax)
    (path,) = (tmp_path / "s").iterdir()
    (frame,) = generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1)
    assert codestream_header(frame) == Codestream(24, 36, 1, 16)
    for length in range(4, 20):
        with pytest.raises(DamagedStream):
            codestream_header(frame[:length])


def test_a_file_format_around_a_jpeg_2000_stream_is_skipped(tmp_path):
    write_single_frames(tmp_path / "s", store(head(1, 24, 36)))
    transcode(tmp_path / "s", JPEG2000Lossless)
    (path,) = (tmp_path / "s").iterdir()
    (frame,) = generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1)
    boxed = b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40) + frame
    assert codestream_header(boxed) == Codestream(24, 36, 1, 16)


@pytest.mark.parametrize("data", [b"", b"\xff", b"\1\0\0\0" * 16])
def test_what_is_no_such_stream_has_no_size(data):
    assert codestream_header(data) is None


def test_a_jpeg_without_the_table_or_frame_that_its_scan_needs_is_damaged(tmp_path):
    """GDCM ends the process over these."""
    write_single_frames(tmp_path / "s", store(head(1, 24, 36)))
    transcode(tmp_path / "s", JPEGLosslessSV1)
    (path,) = (tmp_path / "s").iterdir()
    (frame,) = generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1)
    assert frame.count(b"\xff\xc4") == frame.count(b"\xff\xc3") == 1
    for old, new in (
        (b"\xff\xc4", b"\xff\xfe"),
        (b"\xff\xc3", b"\xff\xfe"),
        (b"\xff\xc4", b"\xff\0"),
    ):
        with pytest.raises(DamagedStream):
            codestream_header(frame.replace(old, new))
