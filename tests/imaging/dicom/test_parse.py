"""Files that only look small, or that have no end."""

import zlib

from pydicom.uid import DeflatedExplicitVRLittleEndian

from intracranial.imaging.dicom.parse import parse
from tests.imaging.make_series import head, store, write_single_frames

MIB = 2**20


def deflated(tmp_path) -> bytes:
    folder = tmp_path / "s"
    write_single_frames(folder, store(head(1)), syntax=DeflatedExplicitVRLittleEndian)
    (path,) = folder.iterdir()
    return path.read_bytes()


def test_a_deflated_file_is_read_up_to_the_limit(tmp_path):
    data = deflated(tmp_path)
    file, code = parse(data, "x", max_bytes=MIB)
    assert file is not None
    assert code == ""
    assert parse(data, "x", max_bytes=1000) == (None, "inflates_too_far")


def test_a_deflated_bomb_is_refused_before_it_is_inflated(tmp_path):
    data = deflated(tmp_path)
    start = data.index(b"1.2.840.10008.1.2.1.99") + 22
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    element = b"\x09\x00\x10\x00UN\0\0" + (256 * MIB).to_bytes(4, "little")
    bomb = packer.compress(element) + packer.compress(bytes(256 * MIB)) + packer.flush()
    assert len(bomb) < MIB
    assert parse(data[:start] + bomb, "x", max_bytes=64 * MIB) == (None, "inflates_too_far")


def test_a_stream_that_is_no_deflate_is_a_broken_header(tmp_path):
    data = deflated(tmp_path)
    assert parse(data[:-40] + b"\xff" * 40, "x", max_bytes=MIB)[1] in ("header_broken", "no_pixels")
    assert parse(data[:300] + b"\xff" * 40, "x", max_bytes=MIB)[1] == "header_broken"
