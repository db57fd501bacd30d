"""What users' folders hold beside the images, and how files and series are named.

Each test builds the folder of one case and states the right outcome.
"""

import gzip
import os
import re
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from intracranial.artifacts import DataPaths
from intracranial.caching.job import Job, cache_series
from intracranial.imaging.folder import natural_key, walk
from intracranial.imaging.outcome import CODES, Findings, LeftOut, base_code, safe_detail
from intracranial.imaging.pixels import STANDARD
from intracranial.imaging.series import ReadLimits, Series, SeriesError, read_series
from tests.imaging.make_series import head, store, write_single_frames

EXPECTED = head() - 1024.0
SOURCE = Path(__file__).parents[2] / "src" / "intracranial" / "imaging"

# Writing what no scanner should write makes pydicom warn.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Invalid value for VR"),
    pytest.mark.filterwarnings("ignore:The value length"),
]


def left_out(series: Series) -> dict[str, str]:
    """File -> code."""
    return {entry.file: entry.code for entry in series.left_out}


def rejected(folder, options=None) -> SeriesError:
    with pytest.raises(SeriesError) as caught:
        read_series(folder, options)
    return caught.value


def write_object(path, sop_class: str, modality: str, **tags) -> None:
    """A DICOM object without pixels."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, f"1.2.3.4.{len(path.name)}"
    dataset.SeriesInstanceUID, dataset.Modality = "1.2.3", modality
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)


# What lies beside the images: cases 54 to 57.


def test_files_of_other_kinds_are_named_and_no_loss(tmp_path):
    folder = tmp_path / "1.2.3"
    write_single_frames(folder, store(head()))
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
    (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (folder / "report.pdf").write_bytes(b"%PDF-1.7\n")
    (folder / "series.json").write_text("{}")
    (folder / "mask.nii.gz").write_bytes(gzip.compress(b"\x5c\x01\0\0" + bytes(600)))
    (folder / "looks_like.dcm").write_text("a letter")
    (folder / "folder.dcm").mkdir()
    series = read_series(folder)
    np.testing.assert_array_equal(series.pixels, EXPECTED)
    assert left_out(series) == {
        ".DS_Store": "hidden_file",
        "Thumbs.db": "not_dicom",
        "report.pdf": "not_dicom",
        "series.json": "not_dicom",
        "mask.nii.gz": "not_dicom",
        "looks_like.dcm": "not_dicom",
    }
    assert series.status == "read"


@pytest.mark.parametrize(
    ("sop_class", "modality", "code"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.11", "SR", "non_image:SR"),
        ("1.2.840.10008.5.1.4.1.1.66.4", "SEG", "non_image:SEG"),
        ("1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT", "non_image:RTSTRUCT"),
        ("1.2.840.10008.5.1.4.1.1.11.1", "PR", "non_image:PR"),
        ("1.2.840.10008.5.1.4.1.1.88.59", "KO", "non_image:KO"),
        ("1.2.840.10008.5.1.4.1.1.66", "MR", "non_image:1.2.840.10008.5.1.4.1.1.66"),
        ("1.2.840.10008.5.1.4.1.1.4.2", "MR", "non_image:1.2.840.10008.5.1.4.1.1.4.2"),
        ("1.3.12.2.1107.5.9.1", "MR", "non_image:1.3.12.2.1107.5.9.1"),
        ("1.2.840.10008.5.1.4.1.1.9.1.1", "MR", "non_image:1.2.840.10008.5.1.4.1.1.9.1.1"),
        ("1.2.840.10008.1.3.10", "", "dicomdir"),
    ],
)
def test_objects_that_are_no_images_are_no_loss(tmp_path, sop_class, modality, code):
    write_single_frames(tmp_path / "s", store(head()))
    write_object(tmp_path / "s" / "object", sop_class, modality)
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, EXPECTED)
    assert left_out(series) == {"object": code}
    assert series.status == "read"


def test_a_segmentation_with_the_modality_of_the_scan_is_not_a_slice(tmp_path):
    uids = write_single_frames(tmp_path / "s", store(head(9)))
    path = tmp_path / "s" / f"{uids[8]}.dcm"
    dataset = pydicom.dcmread(path)
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
    dataset.save_as(path)
    series = read_series(tmp_path / "s")
    assert len(series.pixels) == 8
    assert left_out(series) == {path.name: "non_image:1.2.840.10008.5.1.4.1.1.66.4"}


def test_the_files_that_a_dicomdir_names_are_never_followed(tmp_path):
    """Its ReferencedFileID may point anywhere (CVE-2026-32711)."""
    write_single_frames(tmp_path / "s", store(head()))
    write_single_frames(
        tmp_path / "elsewhere", store(head(seed=1)), names=[f"{k}" for k in range(8)]
    )
    record = Dataset()
    record.ReferencedFileID = ["..", "elsewhere", "0"]
    write_object(
        tmp_path / "s" / "DICOMDIR", "1.2.840.10008.1.3.10", "", DirectoryRecordSequence=[record]
    )
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, EXPECTED)


def test_names_and_extensions_say_nothing(tmp_path):
    names = ["1.IMA", "2.DCM", "3", "4.dcm.bak", "5.txt", "6.jpg", "ü 7 ß.dcm", "8é"]
    write_single_frames(tmp_path / "s", store(head()), names=names)
    np.testing.assert_array_equal(read_series(tmp_path / "s").pixels, EXPECTED)


def test_a_packed_image_is_named_as_a_loss(tmp_path):
    uids = write_single_frames(tmp_path / "s", store(head()))
    path = tmp_path / "s" / f"{uids[0]}.dcm"
    path.with_suffix(".dcm.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    series = read_series(tmp_path / "s")
    assert left_out(series) == {f"{uids[0]}.dcm.gz": "compressed_file"}
    assert (len(series.pixels), series.status) == (7, "partial")


def test_a_folder_of_packed_images_says_so(tmp_path):
    write_single_frames(tmp_path / "s", store(head(2)))
    for path in list((tmp_path / "s").iterdir()):
        path.with_suffix(".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    error = rejected(tmp_path / "s")
    assert error.code == "not_dicom"
    assert "compressed_file:2" in error.message


# What is missing in an image: case 53.


@pytest.mark.parametrize(
    ("keyword", "code"),
    [
        ("Rows", "bad_shape"),
        ("Columns", "bad_shape"),
        ("Modality", "modality_missing"),
        ("SeriesInstanceUID", "series_uid_missing"),
    ],
)
@pytest.mark.parametrize("reader", ["scan", "pydicom"])
def test_an_image_without_what_it_needs_is_a_named_loss(tmp_path, keyword, code, reader):
    uids = write_single_frames(tmp_path / "s", store(head()))
    path = tmp_path / "s" / f"{uids[7]}.dcm"
    dataset = pydicom.dcmread(path)
    delattr(dataset, keyword)
    dataset.save_as(path)
    series = read_series(tmp_path / "s", limits=ReadLimits(reader=reader))
    np.testing.assert_array_equal(series.pixels, EXPECTED[:7])
    assert left_out(series) == {path.name: code}
    assert series.status == "partial"


def test_an_image_without_pixels_is_a_named_loss(tmp_path):
    uids = write_single_frames(tmp_path / "s", store(head()))
    path = tmp_path / "s" / f"{uids[7]}.dcm"
    dataset = pydicom.dcmread(path)
    del dataset.PixelData
    dataset.save_as(path)
    series = read_series(tmp_path / "s")
    assert left_out(series) == {path.name: "no_pixels"}
    assert (len(series.pixels), series.status) == (7, "partial")


def test_a_rejection_names_the_attribute_and_its_value(tmp_path):
    write_single_frames(tmp_path / "s", store(head(2)), tags={"Rows": 0})
    error = rejected(tmp_path / "s")
    assert error.code == "bad_shape"
    assert "1.2.3.9.1.dcm has Rows 0, Columns 40" in error.message


# Links, folders and permissions: cases 58 and 63.


def test_links_that_lead_nowhere_or_in_a_circle_are_named(tmp_path):
    folder = tmp_path / "s"
    write_single_frames(folder / "below", store(head()))
    (folder / "gone.dcm").symlink_to(folder / "nowhere.dcm")
    (folder / "round.dcm").symlink_to(folder / "round.dcm")
    (folder / "up").symlink_to(folder)
    series = read_series(folder)
    np.testing.assert_array_equal(series.pixels, EXPECTED)
    assert left_out(series) == {
        "gone.dcm": "broken_link",
        "round.dcm": "broken_link",
        "up": "linked_folder",
    }
    assert series.status == "partial"


def test_links_to_files_are_files(tmp_path):
    write_single_frames(tmp_path / "store", store(head()))
    (tmp_path / "s").mkdir()
    for path in (tmp_path / "store").iterdir():
        (tmp_path / "s" / path.name).symlink_to(path)
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, EXPECTED)
    assert series.left_out == ()


def test_a_series_folder_may_be_a_link(tmp_path):
    write_single_frames(tmp_path / "store", store(head()))
    (tmp_path / "s").symlink_to(tmp_path / "store")
    np.testing.assert_array_equal(read_series(tmp_path / "s").pixels, EXPECTED)


def test_pipes_and_sockets_are_not_opened(tmp_path, monkeypatch):
    write_single_frames(tmp_path / "s", store(head()))
    os.mkfifo(tmp_path / "s" / "pipe.dcm")
    monkeypatch.chdir(tmp_path / "s")  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.dcm")
        series = read_series(tmp_path / "s")
    assert left_out(series) == {"pipe.dcm": "not_a_file", "socket.dcm": "not_a_file"}
    assert series.status == "read"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_named_as_a_loss(tmp_path):
    folder = tmp_path / "s"
    uids = write_single_frames(folder, store(head()))
    write_single_frames(folder / "closed", store(head()), names=[f"{k}" for k in range(8)])
    (folder / f"{uids[0]}.dcm").chmod(0)
    (folder / "closed").chmod(0)
    try:
        series = read_series(folder)
    finally:
        (folder / "closed").chmod(0o700)
    assert left_out(series) == {
        f"{uids[0]}.dcm": "unreadable_file",
        "closed": "unreadable_folder",
    }
    assert (len(series.pixels), series.status) == (7, "partial")


def test_an_unreadable_file_costs_itself_only(tmp_path, monkeypatch):
    """As above, where the tests run as root."""
    uids = write_single_frames(tmp_path / "s", store(head()))
    opened = open

    def refuse(path, *args, **kwargs):
        if str(path).endswith(f"{uids[7]}.dcm"):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr("builtins.open", refuse)
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, EXPECTED[:7])
    assert left_out(series) == {f"{uids[7]}.dcm": "unreadable_file"}
    assert series.status == "partial"


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    write_single_frames(tmp_path / "s", store(head()))
    (tmp_path / "s" / "closed").mkdir()
    scanned = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scanned(path)

    monkeypatch.setattr("os.scandir", refuse)
    findings = Findings()
    assert len(list(walk(tmp_path / "s", findings))) == 8
    assert findings.left_out == [LeftOut("closed", None, "unreadable_folder")]


def test_nested_folders_are_one_series(tmp_path):
    names = [f"a b/{k}/ü/{k}.dcm" for k in range(8)]
    write_single_frames(tmp_path / "s p a c e" / "é", store(head()), names=names)
    series = read_series(tmp_path / "s p a c e" / "é")
    np.testing.assert_array_equal(series.pixels, EXPECTED)
    assert series.left_out == ()


def test_a_name_that_is_no_unicode_is_a_name(tmp_path):
    write_single_frames(tmp_path / "s", store(head()))
    first = sorted(os.listdir(os.fsencode(tmp_path / "s")))[0]
    folder = os.fsencode(tmp_path / "s")
    os.rename(os.path.join(folder, first), os.path.join(folder, b"caf\xe9.dcm"))
    np.testing.assert_array_equal(read_series(tmp_path / "s").pixels, EXPECTED)


# Several series, and series whose name is not their folder's: case 58.


def test_files_of_other_series_are_named_and_no_loss(tmp_path):
    folder = tmp_path / "1.2.7"
    write_single_frames(folder / "x", store(head(9, seed=1)), uid="1.2.3")
    write_single_frames(folder, store(head()), uid="1.2.7")
    series = read_series(folder)
    np.testing.assert_array_equal(series.pixels, EXPECTED)
    assert set(left_out(series).values()) == {"other_series"}
    assert all(file.startswith("x/") for file in left_out(series))
    assert (series.uid, series.status) == ("1.2.7", "read")


def test_without_the_wanted_series_the_one_of_most_slices_is_read_and_noted(tmp_path):
    write_single_frames(tmp_path / "s", store(head(4, seed=1)), uid="1.2.3")
    write_single_frames(tmp_path / "s", store(head()), uid="1.2.7")
    series = read_series(tmp_path / "s", limits=ReadLimits(expected_uid="1.2.9"))
    assert series.uid == "1.2.7"
    assert {"other_series:4", "uid_differs_from_folder"} <= set(series.notes)


def test_one_series_in_two_folders_is_read_twice_and_linked(tmp_path):
    write_single_frames(tmp_path / "1.2.3", store(head()))
    write_single_frames(tmp_path / "copy", store(head()))
    one, two = read_series(tmp_path / "1.2.3"), read_series(tmp_path / "copy")
    np.testing.assert_array_equal(one.pixels, two.pixels)
    assert one.linkage == two.linkage
    assert (one.notes, two.notes) == ((), ("uid_differs_from_folder",))


UIDS = {
    "separators": "../../etc/1.2",
    "backslashes": "..\\..\\1.2",
    "only dots": "..",
    "absolute": "/tmp/1.2.3",
    "spaces": "1.2 3 4",
    "wildcard": "1.2.*",
    "upper case": "1.2.A",
    "empty": "",
    "long": "1." + "2" * 6000,
}


@pytest.mark.parametrize("uid", UIDS.values(), ids=UIDS.keys())
@pytest.mark.parametrize("reader", ["scan", "pydicom"])
def test_whatever_the_header_says_its_series_uid_is_data(tmp_path, uid, reader):
    """The folder's name stays the key; the header's text is kept, and never becomes a path."""
    folder = tmp_path / "data" / "1.2.3"
    write_single_frames(folder, store(head()), tags={"SeriesInstanceUID": uid})
    before = sorted(tmp_path.rglob("*"))
    series = read_series(folder, limits=ReadLimits(reader=reader))
    np.testing.assert_array_equal(series.pixels, EXPECTED)
    assert series.uid == uid
    assert "uid_differs_from_folder" in series.notes
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("uid", UIDS.values(), ids=UIDS.keys())
def test_caches_are_named_by_the_folder_and_not_by_the_header(tmp_path, uid):
    data = DataPaths(tmp_path / "data")
    write_single_frames(data.series / "1.2.3", store(head(2)), tags={"SeriesInstanceUID": uid})
    before = set(tmp_path.rglob("*"))
    pixels = replace(STANDARD, size=16)
    job = Job("1.2.3", data, pixels, ReadLimits(), slices=True, key=bytes(32))
    outcome = cache_series(job)
    assert (outcome.uid, outcome.code) == ("1.2.3", "")
    made = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert made == {
        data.sequence("1.2.3"),
        data.sequence_sidecar("1.2.3"),
        data.slice("1.2.3", 0),
        data.slice("1.2.3", 1),
    }


def test_series_uids_that_differ_in_case_only_are_different_series(tmp_path):
    folder = tmp_path / "1.2.a"
    write_single_frames(folder, store(head()), tags={"SeriesInstanceUID": "1.2.a"})
    write_single_frames(
        folder / "other", store(head(9)), uid="1.2.4", tags={"SeriesInstanceUID": "1.2.A"}
    )
    series = read_series(folder)
    assert (series.uid, len(series.pixels)) == ("1.2.a", 8)
    assert "other_series:9" in series.notes


def test_natural_order_takes_any_name():
    names = ["I10", "I9", "I0009b", "²", "5²", "x" + "9" * 6000, "", "٣"]
    ordered = sorted(names, key=natural_key)
    assert ordered.index("I9") < ordered.index("I10")
    assert sorted(reversed(names), key=natural_key) == ordered


# What the outcome tells: case 66 and the table of codes.


def test_notes_and_messages_tell_nothing_of_the_person(tmp_path):
    secret = {"Modality": "DOE JANE", "PhotometricInterpretation": "DOE^JANE"}
    write_single_frames(tmp_path / "s", store(head()), names=[f"{k}" for k in range(8)])
    write_single_frames(tmp_path / "s" / "x", store(head(1)), tags=secret)
    series = read_series(tmp_path / "s")
    assert left_out(series) == {"x/1.2.3.9.1.dcm": "other_modality:odd"}
    assert "DOE" not in repr(series)
    assert "Secret" not in repr(series)
    assert "DOE" not in rejected(tmp_path / "s" / "x").message
    write_single_frames(tmp_path / "t", store(head(1)), tags={**secret, "Modality": "CT"})
    assert "DOE" not in rejected(tmp_path / "t").message


def test_a_word_of_the_header_is_repeated_only_if_it_is_a_code():
    assert safe_detail("RTSTRUCT") == "RTSTRUCT"
    assert {safe_detail(word) for word in ("DOE^JANE", "a;b", "a:b", "", "x" * 17)} == {"odd"}


def test_every_code_has_one_line_that_explains_it():
    for code, entry in CODES.items():
        assert code == base_code(code)
        assert entry.effect in ("lost", "aside", "noted")
        assert len(entry.meaning) > 10
        assert "\n" not in entry.meaning


def test_no_code_of_the_source_is_left_unexplained():
    told = re.compile(r'(?:leave_out\(|PixelError\(|noticed\[|remarks\.append\()\s*f?"([a-z0-9_]+)')
    source = "".join(path.read_text() for path in SOURCE.rglob("*.py"))
    found = set(told.findall(source))
    assert len(found) > 20
    assert found <= set(CODES)


def test_a_code_that_nobody_explained_counts_as_a_loss():
    assert LeftOut("a.dcm", 0, "something_new").lost
    assert not LeftOut("a.dcm", None, "non_image:SR").lost


def test_a_remark_with_detail_replaces_the_count_of_its_code():
    findings = Findings()
    findings.leave_out("volumes_dropped", "a.dcm", 3)
    findings.leave_out("not_dicom", "b.txt")
    findings.noticed["lossy_compression"] += 2
    findings.remarks.append("volumes_dropped:1 slices:by echo")
    assert findings.notes == (
        "lossy_compression:2",
        "not_dicom:1",
        "volumes_dropped:1 slices:by echo",
    )
