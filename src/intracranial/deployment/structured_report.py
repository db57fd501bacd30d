"""A prediction as a DICOM structured report in the study of its series (TID 1500, PS3.16 A).

One measurement group per label: the probability, the finding site and, where the label has a point,
the point in the patient's coordinates (TID 1410) or, where the files do not tell positions, the
image alone (TID 1501). The report is unverified and preliminary (PS3.3 C.17.2). It carries the
patient and study modules of the source images, without which an archive could not file it.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import highdicom.sr as sr
import numpy as np
import pydicom
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID, generate_uid

from intracranial.artifacts import atomic_open
from intracranial.errors import InputError
from intracranial.tasks import RSNA_2025, SERIES_COLUMN, Task, task_from
from intracranial.tasks import Code as TaskCode

NAME = "intracranial"
MANUFACTURER = "Open-source research software, not for clinical use"

DEVICE_UID = generate_uid(entropy_srcs=[NAME])
"""Of the program as an observer: equal in all its reports (PS3.16 TID 1004)."""

SERIES_NUMBER = 9000
"""Type 1 for highdicom, of no meaning; high, so that it sorts behind the images."""

PROBABILITY = Code("122157", "DCM", "Probability")
NO_UNITS = Code("1", "UCUM", "no units")

SIDES = {"left": Code("7771000", "SCT", "Left"), "right": Code("24028007", "SCT", "Right")}
"""PS3.16 CID 244."""

PROCEDURES = {
    "CT": Code("77477000", "SCT", "Computed tomography"),
    "MR": Code("113091000", "SCT", "Magnetic resonance imaging"),
}

EMPTY_IF_UNKNOWN = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""Type 2 of the patient and general study modules (PS3.3 C.7.1.1, C.7.2.1): they must be there and
may be empty. De-identified files often lack them."""

NEEDED = (
    *EMPTY_IF_UNKNOWN,
    "SpecificCharacterSet",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPClassUID",
    "SOPInstanceUID",
    "FrameOfReferenceUID",
    "Modality",
    "NumberOfFrames",
    "Rows",
    "Columns",
)
"""Attributes that are read from the source images; nothing else of them can get into a report."""

UTF_8 = "ISO_IR 192"
"""Specific Character Set of the reports (PS3.3 C.12.1.1.2), whatever that of the images is."""


def write_structured_report(
    path: Path, result: Mapping[str, Any], folder: Path, mark_above: float = 0.0
) -> None:
    """Write the report of one prediction, atomically.

    Args:
        path: of the report.
        result: what tools/predict.py writes for a series.
        folder: with the images of the series.
        mark_above: labels with a smaller probability get no point.

    Raises:
        InputError: an image is gone or cannot be read, they are of several studies, or a label
            has no code.
    """
    headers = read_headers(folder, result["slices"]["SOPInstanceUID"])
    report = structured_report(result, headers, mark_above)
    with atomic_open(path, "wb") as file:
        report.save_as(file, enforce_file_format=True)


def is_report_of(path: Path, result: Mapping[str, Any], mark_above: float = 0.0) -> bool:
    """Whether a readable report is there, of this prediction and with points from this limit on."""
    try:
        report = pydicom.dcmread(path, specific_tags=["SeriesInstanceUID"])
        return str(report.SeriesInstanceUID) == report_series_uid(result, mark_above)
    except Exception:  # pydicom raises many kinds for a damaged file; it is written again
        return False


def report_series_uid(result: Mapping[str, Any], mark_above: float) -> UID:
    """SeriesInstanceUID of the reports of one prediction: equal ones belong to one series."""
    made_from = [NAME, result[SERIES_COLUMN], result["identity"], str(float(mark_above))]
    return generate_uid(entropy_srcs=made_from)


def read_headers(folder: Path, sop_uids: Sequence[str]) -> list[Dataset]:
    """Headers of the images that a prediction was made from, without pixels.

    Args:
        folder: of the series.
        sop_uids: SOPInstanceUID of each slice.

    Raises:
        InputError: an image is gone or cannot be read, or they are of several studies.
    """
    wanted = set(sop_uids)
    found: dict[str, Dataset] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom quotes values, which may be the patient's
        for path in sorted(folder.rglob("*")):
            try:
                if not path.is_file():
                    continue
                header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(NEEDED))
                if header.get("SOPInstanceUID") in wanted:
                    found.setdefault(header.SOPInstanceUID, header)
            except Exception:  # pydicom raises many kinds for a damaged header
                continue  # not of this prediction, or it is missed below
    missing = wanted - set(found)
    if missing:
        raise InputError(
            f"{folder}: {len(missing)} of {len(wanted)} images of the prediction are gone or "
            f"unreadable (first SOPInstanceUID {min(missing)}): give the folder that was predicted"
        )
    studies = {str(header.get("StudyInstanceUID", "")) for header in found.values()}
    if len(studies) > 1 or "" in studies:
        raise InputError(
            f"{folder}: StudyInstanceUID is missing or not one but {len(studies)}: a report is "
            "filed in one study"
        )
    return list(found.values())


def structured_report(
    result: Mapping[str, Any],
    images: Sequence[Dataset],
    mark_above: float = 0.0,
) -> sr.Comprehensive3DSR:
    """The report of one prediction, ready to be saved.

    Args:
        result: what tools/predict.py writes for a series.
        images: headers of its images, see `read_headers`.
        mark_above: labels with a smaller probability get no point.

    Raises:
        InputError: a label has no code, see `check_sites`.
    """
    task = task_from(result["task"]) if "task" in result else RSNA_2025  # first versions
    check_sites(task)
    by_uid = {image.SOPInstanceUID: image for image in images}
    best: dict[str, Mapping[str, Any]] = {}
    for point in result["points"]:  # the best of each label comes first
        best.setdefault(point["location"], point)
    algorithm = sr.AlgorithmIdentification(
        name=NAME,
        version=str(result["algorithm_version"]),
        family=codes.DCM.ArtificialIntelligence,  # CID 7162
    )
    groups = []
    for label in task.labels:
        probability = float(result["probabilities"][label])
        point = best.get(label) if probability >= mark_above else None
        image = None if point is None else by_uid[point["SOPInstanceUID"]]
        groups.append(_group(task, label, probability, point, image, algorithm))
    observer = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=DEVICE_UID, name=NAME
        ),
    )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=PROCEDURES[result["modality"]],
        imaging_measurements=groups,
    )
    report = sr.Comprehensive3DSR(
        evidence=[_nameless(images[0]), *images[1:]],
        content=content,
        series_instance_uid=report_series_uid(result, mark_above),
        series_number=SERIES_NUMBER,
        series_description=f"{task.title} (unverified)",
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=NAME,
        software_versions=str(result["algorithm_version"]),
        device_serial_number="none",
        is_complete=True,
        is_final=False,
        is_verified=False,
        specific_character_set=UTF_8,
    )
    for keyword in EMPTY_IF_UNKNOWN:
        _copy_element(images[0], report, keyword)
    return report


def _nameless(image: Dataset) -> Dataset:
    """For highdicom, which quotes names that it doubts and refuses dates that archives keep."""
    found = Dataset()
    for tag in image.keys():
        if keyword_for_tag(tag) not in EMPTY_IF_UNKNOWN:
            found[tag] = image.get_item(tag)
    for keyword in EMPTY_IF_UNKNOWN:
        setattr(found, keyword, "")
    return found


def _copy_element(image: Dataset, report: Dataset, keyword: str) -> None:
    """Copy one element as it is, but in UTF-8; leave the report's empty one where it is missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # see `read_headers`
        value = image.get(keyword)
        if value:
            report[keyword] = DataElement(
                keyword,
                dictionary_VR(keyword),
                str(value),
                validation_mode=pydicom.config.IGNORE,
            )


def check_sites(task: Task) -> None:
    """Refuse a task of which labels have no code: a report with a wrong site is worse than none.

    Raises:
        InputError: there are some; the message names them.
    """
    unknown = [label for label in task.labels if label not in (task.sites or {})]
    if unknown or task.finding_code is None:
        raise InputError(
            f"the task {task.name!r} has no code, which a structured report needs, for "
            f"{', '.join(map(repr, unknown)) or 'its finding'}: add `sites` and `finding_code` to "
            "its file before training"
        )


def finding_site(task: Task, label: str) -> sr.FindingSite:
    """The label's site with its side; see `check_sites`."""
    site = (task.sites or {})[label]
    return sr.FindingSite(_code(site), laterality=SIDES.get(site.side))


def _code(one: TaskCode) -> Code:
    return Code(one.value, one.scheme, one.meaning)


def _group(
    task: Task,
    label: str,
    probability: float,
    point: Mapping[str, Any] | None,
    image: Dataset | None,
    algorithm: sr.AlgorithmIdentification,
) -> sr.MeasurementsAndQualitativeEvaluations | sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    assert task.finding_code is not None  # see `check_sites`
    sources = None
    if point is not None and image is not None:
        frames = [int(point["frame"]) + 1] if "NumberOfFrames" in image else None
        sources = [sr.SourceImageForMeasurement(image.SOPClassUID, image.SOPInstanceUID, frames)]
    measurement = sr.Measurement(PROBABILITY, probability, NO_UNITS, referenced_images=sources)
    common: dict[str, Any] = {
        "tracking_identifier": sr.TrackingIdentifier(uid=generate_uid(), identifier=label),
        "finding_type": _code(task.finding_code),
        "finding_sites": [finding_site(task, label)],
        "algorithm_id": algorithm,
        "measurements": [measurement],
    }
    frame_of_reference = None if image is None else image.get("FrameOfReferenceUID")
    if point is None or point["mm"] is None or not frame_of_reference:
        return sr.MeasurementsAndQualitativeEvaluations(**common)
    region = sr.ImageRegion3D("POINT", np.array([point["mm"]], dtype=float), frame_of_reference)
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=region, **common)
