"""What lies in a series folder beside the images, and what is rejected with which reason."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from intracranial.imaging.folder import discover, natural_key, source_digest, stat_digest, walk
from intracranial.imaging.outcome import Findings
from intracranial.imaging.series import ReadLimits, SeriesError, read_series
from tests.imaging.make_series import head, store, write_single_frames


def rejection(folder, limits=None) -> str:
    with pytest.raises(SeriesError) as caught:
        read_series(folder, limits=limits)
    assert str(folder) in str(caught.value)
    return caught.value.code


def test_neighbours_that_are_no_images_are_ignored_and_counted(tmp_path):
    folder = tmp_path / "1.2.3"
    write_single_frames(folder / "deep" / "er", store(head()))
    (folder / "empty.dcm").touch()
    (folder / "notes.txt").write_text("not DICOM")
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "folder.dcm").mkdir()
    (folder / "dangling").symlink_to(folder / "nowhere")
    _write_object(folder / "report", "1.2.840.10008.5.1.4.1.1.88.11", "SR")
    _write_object(folder / "DICOMDIR", "1.2.840.10008.1.3.10", "")
    series = read_series(folder)
    assert len(series.pixels) == 8
    assert series.notes == (
        "broken_link:1",
        "dicomdir:1",
        "empty_file:1",
        "hidden_file:1",
        "non_image:SR:1",
        "not_dicom:1",
    )


def _write_object(path, sop_class: str, modality: str) -> None:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, "1.2.3.4"
    dataset.Modality = modality
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    dataset.save_as(path, enforce_file_format=True)


def test_an_empty_a_missing_and_a_foreign_folder_each_have_their_reason(tmp_path):
    assert rejection(tmp_path / "nowhere") == "missing_folder"
    (tmp_path / "empty").mkdir()
    assert rejection(tmp_path / "empty") == "no_files"
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "a.dcm").write_text("a letter, not an image")
    assert rejection(tmp_path / "foreign") == "not_dicom"


def test_a_folder_of_reports_has_no_pixels(tmp_path):
    folder = tmp_path / "s"
    folder.mkdir()
    _write_object(folder / "report", "1.2.840.10008.5.1.4.1.1.88.11", "SR")
    assert rejection(folder) == "no_pixels"


def test_other_modalities_are_rejected_by_name(tmp_path):
    write_single_frames(tmp_path / "s", store(head()), tags={"Modality": "PT"})
    assert rejection(tmp_path / "s") == "unsupported_modality"


def test_a_series_above_the_allocation_limit_is_rejected_before_it_is_read(tmp_path):
    write_single_frames(tmp_path / "s", store(head()))
    assert rejection(tmp_path / "s", ReadLimits(max_gib=1e-6)) == "too_large"


def test_absurd_dimensions_are_rejected_without_allocating(tmp_path):
    write_single_frames(tmp_path / "s", store(head(2)), tags={"Rows": 65535, "Columns": 65535})
    assert rejection(tmp_path / "s") == "bad_shape"
    write_single_frames(tmp_path / "t", store(head(2)), tags={"Rows": 16000, "Columns": 16000})
    assert rejection(tmp_path / "t", ReadLimits(max_gib=1)) == "too_large"


def test_of_several_series_in_one_folder_the_one_with_its_name_is_read(tmp_path):
    folder = tmp_path / "1.2.7"
    write_single_frames(folder, store(head(8, seed=1)), uid="1.2.3")
    write_single_frames(folder, store(head(4, seed=2)), uid="1.2.7")
    series = read_series(folder)
    assert (series.uid, len(series.pixels)) == ("1.2.7", 4)
    assert "other_series:8" in series.notes


def test_a_folder_with_another_name_than_its_series_is_noted(tmp_path):
    write_single_frames(tmp_path / "renamed", store(head()))
    assert "uid_differs_from_folder" in read_series(tmp_path / "renamed").notes


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_file_without_preamble_and_meta_information_is_read(tmp_path, syntax):
    write_single_frames(tmp_path / "s", store(head()), syntax=syntax)
    for path in (tmp_path / "s").iterdir():
        dataset = pydicom.dcmread(path)
        del dataset.file_meta
        implicit = syntax == ImplicitVRLittleEndian
        dataset.save_as(path, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
        data = path.read_bytes()
        path.write_bytes(data[132:] if data[128:132] == b"DICM" else data)
    np.testing.assert_array_equal(read_series(tmp_path / "s").pixels, head() - 1024.0)


@pytest.mark.parametrize("length", [200, 300, 420, 600])
def test_a_truncated_header_costs_that_file_only(tmp_path, length):
    uids = write_single_frames(tmp_path / "s", store(head()))
    path = tmp_path / "s" / f"{uids[0]}.dcm"
    path.write_bytes(path.read_bytes()[:length])
    series = read_series(tmp_path / "s")
    assert len(series.pixels) == 7
    assert any(note.split(":")[0] in ("header_broken", "no_pixels") for note in series.notes)


def test_values_that_do_not_fit_their_type_count_as_missing(tmp_path):
    write_single_frames(tmp_path / "s", store(head()), tags={"InstanceNumber": 87654})
    for path in (tmp_path / "s").iterdir():
        path.write_bytes(path.read_bytes().replace(b"87654", b"1A-,\0"))
    assert len(read_series(tmp_path / "s").pixels) == 8


def test_nothing_of_the_person_is_kept(tmp_path):
    write_single_frames(tmp_path / "s", store(head()))
    series = read_series(tmp_path / "s")
    kept = repr(series)
    assert "Secret" not in kept
    assert "P-1" not in kept


def test_the_digest_follows_content_and_the_cheap_one_follows_time(tmp_path):
    folder = tmp_path / "s"
    uids = write_single_frames(folder, store(head(2)))
    content, cheap = source_digest(folder), stat_digest(folder)[0]
    assert discover(folder, walk(folder), Findings()).digest == content
    path = folder / f"{uids[0]}.dcm"
    data = path.read_bytes()
    path.write_bytes(data)
    assert source_digest(folder) == content
    import os

    os.utime(path, ns=(1, 1))
    assert stat_digest(folder)[0] != cheap
    path.write_bytes(data[:-1] + b"\7")
    assert source_digest(folder) != content


def test_natural_order_puts_nine_before_ten():
    assert sorted(["I10", "I9", "I100"], key=natural_key) == ["I9", "I10", "I100"]
