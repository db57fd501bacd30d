"""The structured report, read again with highdicom: what, where, of whom, by what, unverified."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from intracranial.errors import EXIT_DONE, EXIT_INPUT, EXIT_REJECTED, InputError
from intracranial.stages.predict import PredictPaths, write_structured_reports
from intracranial.tasks import RSNA_2025, Task
from tests.challenge import ANEURYSM_PRESENT, LABELS
from tests.imaging.make_series import store, write_single_frames
from tests.tiny_data import SECRET_ID, SECRETS, uid_of
from tests.tiny_runs import Place, Said, read, run_tool

hd = pytest.importorskip("highdicom", reason="highdicom is an extra: pip install highdicom")

from intracranial.deployment.structured_report import read_headers, structured_report  # noqa: E402

ALGORITHM_VERSION = "111003"
"""PS3.16 TID 4019."""

DCIODVFY = shutil.which("dciodvfy")
"""David Clunie's validator of DICOM objects, where it is installed."""

IDENTITY = "0123456789abcdef"
VERSION = "0.1.0 model fedcba9876543210"
FRAME = "1.2.826.0.1.3680043.8.498.999"
UID = "1.2.826.0.1.3680043.8.498.5"
PERSON = {**SECRETS, "PatientID": SECRET_ID}


def write_series(folder: Path, **tags: str) -> list[str]:
    """Three CT slices; SOPInstanceUID of each."""
    stored = store(np.zeros((3, 8, 8), dtype=np.int16))
    tags = {"FrameOfReferenceUID": FRAME, **PERSON, **tags}
    write_single_frames(folder, stored, modality="CT", uid=UID, tags=tags)
    return [str(pydicom.dcmread(path).SOPInstanceUID) for path in sorted(folder.iterdir())]


@pytest.fixture
def series(tmp_path: Path) -> Path:
    return tmp_path / "incoming" / "one"


def result_of(sop_uids: list[str], *points: dict[str, Any]) -> dict[str, Any]:
    """What tools/predict.py writes."""
    return {
        "SeriesInstanceUID": UID,
        "status": "read",
        "modality": "CT",
        "identity": IDENTITY,
        "algorithm_version": VERSION,
        "probabilities": {label: (k + 1) / 20 for k, label in enumerate(LABELS)},
        "points": list(points),
        "slices": {"SOPInstanceUID": sop_uids},
    }


def point(label: str, sop_uid: str, mm: list[float] | None) -> dict[str, Any]:
    return {"location": label, "SOPInstanceUID": sop_uid, "frame": 0, "mm": mm}


def again(report: pydicom.Dataset, folder: Path) -> Any:
    """The report after a file."""
    path = folder / "report.dcm"
    report.save_as(path, enforce_file_format=True)
    return hd.sr.srread(path)


def groups_by_label(report: Any) -> dict[str, Any]:
    content = report.content
    found = [
        *content.get_planar_roi_measurement_groups(),
        *content.get_image_measurement_groups(),
    ]
    return {group.tracking_identifier: group for group in found}


def test_every_label_has_its_probability_site_and_algorithm(series: Path, tmp_path: Path):
    result = result_of(write_series(series))
    report = again(structured_report(result, read_headers(series, uids(result))), tmp_path)
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    groups = groups_by_label(report)
    assert set(groups) == set(LABELS)
    for label, group in groups.items():
        (measurement,) = group.get_measurements()
        assert measurement.name.meaning == "Probability" and measurement.unit.value == "1"
        assert measurement.value == pytest.approx(result["probabilities"][label])
        assert group.finding_type.value == "85659009"
        items = {item.name.value: item.value for item in group[0].ContentSequence}
        assert items[ALGORITHM_VERSION] == VERSION


@pytest.mark.slow
@pytest.mark.skipif(DCIODVFY is None, reason="dciodvfy is not installed (package dicom3tools)")
@pytest.mark.parametrize("placed", [True, False])
def test_an_independent_validator_finds_no_error_in_a_report(
    series: Path, tmp_path: Path, placed: bool
):
    first, second, _ = sop_uids = write_series(series)
    result = result_of(
        sop_uids,
        point("Basilar Tip", second, [1.5, -20.25, 33.0] if placed else None),
        point(ANEURYSM_PRESENT, first, [4.0, 5.0, 6.0] if placed else None),
    )
    path = tmp_path / "report.dcm"
    report = structured_report(result, read_headers(series, sop_uids))
    report.save_as(path, enforce_file_format=True)
    said = subprocess.run(
        [str(DCIODVFY), str(path)], capture_output=True, text=True, errors="replace", timeout=60
    )
    text = said.stdout + said.stderr
    assert text.strip(), "dciodvfy did not even name the kind of object that it read"
    assert errors_of(text) == []


def errors_of(text: str) -> list[str]:
    """Lines of dciodvfy's output that are errors; it also prints warnings and the object's kind."""
    return [line for line in text.splitlines() if line.startswith("Error")]


def test_errors_of_the_validator_are_told_from_its_warnings():
    said = "Comprehensive3DSR\nError - Missing attribute Type 1\nWarning - Error in text\n"
    assert errors_of(said) == ["Error - Missing attribute Type 1"]


def uids(result: dict[str, Any]) -> list[str]:
    return result["slices"]["SOPInstanceUID"]


@pytest.mark.parametrize(
    ("label", "site", "side"),
    [
        ("Left Middle Cerebral Artery", "17232002", "7771000"),
        ("Right Posterior Communicating Artery", "43119007", "24028007"),
        ("Right Supraclinoid Internal Carotid Artery", "86117002", "24028007"),
        ("Anterior Communicating Artery", "8012006", None),
        ("Basilar Tip", "59011009", None),
        ("Other Posterior Circulation", "1101003", None),
        (ANEURYSM_PRESENT, "1101003", None),
    ],
)
def test_sites_are_codes_of_the_standard(
    series: Path, tmp_path: Path, label: str, site: str, side: str | None
):
    result = result_of(write_series(series))
    report = again(structured_report(result, read_headers(series, uids(result))), tmp_path)
    (found,) = groups_by_label(report)[label].finding_sites
    assert found.value.value == site
    assert (found.laterality.value if found.laterality else None) == side


def test_a_report_has_the_labels_of_the_prediction_in_its_order(series: Path, tmp_path: Path):
    labels = ["Right Middle Cerebral Artery", ANEURYSM_PRESENT, "Left Middle Cerebral Artery"]
    some = RSNA_2025.record() | {"labels": labels, "locations": labels[::2], "weights": None}
    some |= {key: {name: RSNA_2025.record()[key][name] for name in labels} for key in ("sites",)}
    result = result_of(write_series(series)) | {
        "task": some | {"short": None},
        "labels": labels,
        "probabilities": {label: 0.5 for label in sorted(labels)},
    }
    report = again(structured_report(result, read_headers(series, uids(result))), tmp_path)
    groups = report.content.get_image_measurement_groups()
    assert [group.tracking_identifier for group in groups] == labels


def test_labels_without_a_code_are_named_and_no_report_is_written(series: Path, tmp_path: Path):
    folder = PredictPaths(tmp_path / "results")
    result = result_of(write_series(series))
    labels = ["Left Vertebral Artery", "Vein of Galen"]
    result["task"] = Task("veins", tuple(labels)).record()
    result["probabilities"] = dict.fromkeys(labels, 0.5)
    folder.series.mkdir(parents=True)
    folder.result("one").write_text(json.dumps(result))
    with pytest.raises(InputError, match=r"needs, for 'Left Vertebral Artery', 'Vein of Galen': "):
        structured_report(result, read_headers(series, uids(result)))
    counts = write_structured_reports(folder, {"one": series})
    assert (counts.written, counts.failed) == (0, 1)
    assert not folder.structured_report("one").exists()


def test_a_point_lies_in_the_frame_of_reference_and_names_its_image(series: Path, tmp_path: Path):
    first, second, _ = sop_uids = write_series(series)
    result = result_of(
        sop_uids,
        point("Basilar Tip", second, [1.5, -20.25, 33.0]),
        point(ANEURYSM_PRESENT, first, [4.0, 5.0, 6.0]),
        point(ANEURYSM_PRESENT, second, [9.0, 9.0, 9.0]),
        point("Anterior Communicating Artery", second, None),
    )
    report = again(structured_report(result, read_headers(series, sop_uids)), tmp_path)
    rois = {g.tracking_identifier: g for g in report.content.get_planar_roi_measurement_groups()}
    assert set(rois) == {"Basilar Tip", ANEURYSM_PRESENT}
    where = rois["Basilar Tip"].roi
    assert where.graphic_type.value == "POINT" and where.frame_of_reference_uid == FRAME
    assert where.value.tolist() == [[1.5, -20.25, 33.0]]
    assert rois[ANEURYSM_PRESENT].roi.value.tolist() == [[4.0, 5.0, 6.0]]
    groups = groups_by_label(report)
    for label in ("Basilar Tip", "Anterior Communicating Artery"):
        (measurement,) = groups[label].get_measurements()
        assert [image.referenced_sop_instance_uid for image in measurement.referenced_images] == [
            second
        ]


def test_the_report_is_filed_in_the_study_of_the_series_and_is_unverified(series, tmp_path):
    result = result_of(write_series(series))
    headers = read_headers(series, uids(result))
    report = again(structured_report(result, headers), tmp_path)
    source = pydicom.dcmread(next(series.iterdir()))
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "AccessionNumber"):
        assert report[keyword].value == source[keyword].value
    assert report.SeriesInstanceUID != source.SeriesInstanceUID and report.Modality == "SR"
    assert report.SOPClassUID == pydicom.uid.Comprehensive3DSRStorage
    assert (report.VerificationFlag, report.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    (evidence,) = study.ReferencedSeriesSequence
    named = [item.ReferencedSOPInstanceUID for item in evidence.ReferencedSOPSequence]
    assert sorted(named) == sorted(uids(result))


def test_labels_below_the_mark_have_no_point(series: Path, tmp_path: Path):
    sop_uids = write_series(series)
    result = result_of(sop_uids, point("Basilar Tip", sop_uids[0], [1.0, 2.0, 3.0]))
    headers = read_headers(series, sop_uids)
    report = again(structured_report(result, headers, mark_above=0.95), tmp_path)
    assert not report.content.get_planar_roi_measurement_groups()
    assert len(groups_by_label(report)) == 14


def test_files_without_names_dates_and_frame_of_reference_give_a_report(series, tmp_path):
    sop_uids = write_series(series)
    for path in series.iterdir():
        dataset = pydicom.dcmread(path)
        for keyword in (*PERSON, "FrameOfReferenceUID", "StudyTime", "StudyID", "PatientSex"):
            if keyword in dataset:
                delattr(dataset, keyword)
        dataset.save_as(path)
    result = result_of(sop_uids, point("Basilar Tip", sop_uids[0], [1.0, 2.0, 3.0]))
    report = again(structured_report(result, read_headers(series, sop_uids)), tmp_path)
    assert not report.PatientID and not report.StudyDate
    assert not report.content.get_planar_roi_measurement_groups()


@pytest.mark.parametrize("charset", [["ISO_IR 100"], ["ISO 2022 IR 6", "ISO 2022 IR 100"]])
def test_names_keep_their_letters(series: Path, tmp_path: Path, charset: list[str]):
    name = "M\u00fcller^\u00c4nne"
    result = result_of(write_series(series, SpecificCharacterSet=charset, PatientName=name))
    report = again(structured_report(result, read_headers(series, uids(result))), tmp_path)
    assert str(report.PatientName) == name


@pytest.mark.parametrize("name", ["Zebedee", "a^b^c^d^e^f^g"])
def test_what_an_archive_keeps_is_copied_and_never_quoted(
    series: Path, tmp_path: Path, name: str, caplog, recwarn
):
    sop_uids = write_series(series)
    for path in series.iterdir():
        dataset = pydicom.dcmread(path)
        odd = {"PatientName": name, "PatientBirthDate": "1947.8.3", "PatientSex": "MALE"}
        odd["SpecificCharacterSet"] = "ISO 2022 IR 6"
        for keyword, value in odd.items():
            element = pydicom.DataElement(
                keyword,
                pydicom.datadict.dictionary_VR(keyword),
                value,
                validation_mode=pydicom.config.IGNORE,
            )
            dataset[keyword] = element
        dataset.save_as(path)
    recwarn.clear()
    report = structured_report(result_of(sop_uids), read_headers(series, sop_uids))
    report.save_as(tmp_path / "odd.dcm", enforce_file_format=True)
    said = caplog.text + "".join(str(warning.message) for warning in recwarn)
    assert not any(secret in said for secret in (name, "1947", "MALE"))
    assert str(hd.sr.srread(tmp_path / "odd.dcm").PatientName) == name


def test_images_that_are_gone_or_of_two_studies_are_refused(series: Path):
    sop_uids = write_series(series)
    first = sorted(series.iterdir())[0]
    dataset = pydicom.dcmread(first)
    dataset.StudyInstanceUID = "1.2.3"
    dataset.save_as(first)
    with pytest.raises(InputError, match="StudyInstanceUID is missing or not one but 2"):
        read_headers(series, sop_uids)
    first.unlink()
    with pytest.raises(InputError, match="1 of 3 images of the prediction are gone"):
        read_headers(series, sop_uids)


def reported(folder: Path, *flags: str) -> Said:
    places = ["--results", folder / "out", "--series_dir", folder / "incoming"]
    return run_tool("structured_report", *places, *flags)


def test_the_tool_reports_what_was_predicted_once(series: Path, tmp_path: Path):
    results = tmp_path / "out" / "series"
    results.mkdir(parents=True)
    sop_uids = write_series(series, PatientName="Zebedee")
    (results / "one.json").write_text(json.dumps(result_of(sop_uids)))
    (results / "bad.json").write_text(json.dumps({"status": "rejected"}))
    said = reported(tmp_path)
    assert said.code == EXIT_DONE, said.text
    assert "1 reports written, 0 were there" in said.text
    report = tmp_path / "out" / "dicom" / "one.dcm"
    assert hd.sr.srread(report).SoftwareVersions == VERSION
    before = report.read_bytes()
    assert "0 reports written, 1 were there" in reported(tmp_path).text
    assert report.read_bytes() == before
    said_again = reported(tmp_path, "--mark_above", "0.95")
    assert "1 reports written, 0 were there" in said_again.text
    assert "0 reports written, 1 were there" in reported(tmp_path, "--mark_above", "0.95").text
    assert not any(secret in said.text for secret in ("Zebedee", *PERSON.values()))
    next(series.iterdir()).unlink()
    said = reported(tmp_path, "--overwrite")
    assert said.code == EXIT_REJECTED and "are gone" in said.text


def test_a_damaged_result_or_header_costs_its_series_alone_and_is_not_quoted(
    tmp_path: Path, caplog, monkeypatch
):
    from intracranial.deployment import structured_report as module

    paths = PredictPaths(tmp_path / "out")
    paths.series.mkdir(parents=True)
    folders = {name: tmp_path / "incoming" / name for name in ("cut", "keyless", "odd", "sound")}
    for name, folder in folders.items():
        paths.result(name).write_text(json.dumps(result_of(write_series(folder))))
    paths.result("cut").write_text('{"status": "read", ')
    paths.result("keyless").write_text('{"status": "read"}')
    build = module.structured_report

    def refuses(result, images, mark_above):
        if "odd" in str(images[0].filename):
            raise ValueError("Zebedee is no name of a person")
        return build(result, images, mark_above)

    monkeypatch.setattr(module, "structured_report", refuses)
    counts = write_structured_reports(paths, folders)
    assert (counts.written, counts.failed) == (1, 3)
    assert [path.stem for path in (tmp_path / "out" / "dicom").iterdir()] == ["sound"]
    assert "of cut: " in caplog.text and "cut.json is not valid JSON" in caplog.text
    assert "of keyless: " in caplog.text and "(KeyError)" in caplog.text
    assert "of odd: " in caplog.text and "(ValueError)" in caplog.text
    assert "Zebedee" not in caplog.text


def test_a_file_whose_header_cannot_be_parsed_is_missed_only_if_it_was_used(series: Path):
    sop_uids = write_series(series)
    sound = sorted(series.iterdir())[0].read_bytes()
    (series / "odd.dcm").write_bytes(sound[:300] + b"\xff" * 40)
    assert len(read_headers(series, sop_uids)) == 3
    with pytest.raises(InputError, match="are gone or unreadable"):
        read_headers(series, [*sop_uids, "1.2.3"])


def test_a_damaged_report_is_written_again(series: Path, tmp_path: Path):
    from intracranial.deployment.structured_report import is_report_of, write_structured_report

    path, result = tmp_path / "report.dcm", result_of(write_series(series))
    assert not is_report_of(path, result)
    write_structured_report(path, result, series)
    assert is_report_of(path, result) and not is_report_of(path, result, 0.5)
    assert not is_report_of(path, {**result, "identity": "other"})
    path.write_bytes(path.read_bytes()[:200])
    assert not is_report_of(path, result)


def test_a_prediction_of_the_command_becomes_a_report(tiny: Place, others: Path, tmp_path: Path):
    incoming = tmp_path / "incoming"
    for number in (100, 101):
        shutil.copytree(others / "series" / uid_of(number), incoming / uid_of(number))
    places = ["--model", tiny.model_dir / "tiny", "--out_dir", tmp_path / "out"]
    flags = ["--series_dir", incoming, *places, "--num_workers", "0"]
    assert run_tool("predict", *flags).code == EXIT_DONE
    said = reported(tmp_path)
    assert said.code == EXIT_DONE and "2 reports written" in said.text, said.text
    for number in (100, 101):
        report = hd.sr.srread(tmp_path / "out" / "dicom" / f"{uid_of(number)}.dcm")
        result = read(tmp_path / "out" / "series" / f"{uid_of(number)}.json")
        groups = groups_by_label(report)
        for label, probability in result["probabilities"].items():
            (measurement,) = groups[label].get_measurements()
            assert measurement.value == pytest.approx(probability, rel=1e-6)
        assert str(report.PatientName) == SECRETS["PatientName"]


def test_the_folder_of_the_series_is_looked_for_even_if_all_reports_are_there(series, tmp_path):
    results = tmp_path / "out" / "series"
    results.mkdir(parents=True)
    (results / "one.json").write_text(json.dumps(result_of(write_series(series))))
    assert reported(tmp_path).code == EXIT_DONE
    series.rename(tmp_path / "incoming" / "other")
    said = reported(tmp_path)
    assert said.code == EXIT_INPUT and "holds none of the 1 series" in said.text
    (tmp_path / "incoming").rename(tmp_path / "elsewhere")
    said = reported(tmp_path)
    assert said.code == EXIT_INPUT and "incoming is not a folder" in said.text


def test_without_results_the_tool_says_what_to_run(tmp_path: Path):
    said = reported(tmp_path)
    assert said.code == EXIT_INPUT and "tools/predict.py" in said.text
