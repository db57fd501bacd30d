"""The data report: what preprocess_data.py read, how it looks, and where the findings are.

One page like the report of a run: neither network nor script, no dates, and of the patient nothing
but pixels and SeriesInstanceUIDs. It is made from the tables and caches alone.
"""

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from intracranial.artifacts import DataPaths, ImageFile, atomic_open, write_json
from intracranial.caching.job import PARTIAL
from intracranial.caching.tables import (
    read_meta,
    read_rejected,
    read_slices,
    rejected_series,
    typed_meta,
)
from intracranial.caching.train_table import contradictions
from intracranial.errors import InputError
from intracranial.imaging.geometry import THICKNESS_COLUMN, Geometry
from intracranial.imaging.outcome import CODES, base_code
from intracranial.provenance import MADE_BY, versions
from intracranial.report.data_figures import (
    ContactPicture,
    Place,
    contact_sheet,
    histograms,
    places_figure,
)
from intracranial.report.page import data_uri, page_environment, photo_uri
from intracranial.report.projections import array_directions, place_in_words
from intracranial.sampling.series_info import pixel_mm
from intracranial.splits.localizers import REASONS, count_reasons, read_localizers
from intracranial.tasks import Task

TEMPLATE = "data_report.html.jinja"

PICTURES = 24
"""Pictures of the contact sheet, shared among the modalities."""

SAMPLED_SERIES = 40
"""Series per modality whose values are counted: more change the histogram by nothing visible."""

SAMPLED_SHARES = (0.25, 0.5, 0.75)
"""Slices of a series whose values are counted, as shares of its length."""

SAMPLED_PIXEL = 4
"""Every 4th pixel of every 4th row is counted."""


def write_data_report(data: DataPaths, task: Task) -> None:
    """Write data/report.html and its figures, data/report.json, from tables and caches.

    Both atomically. Equal tables and caches give equal bytes on the same machine. Schema of the
    figures: `data_report` in `src/intracranial/evaluation/results.schema.json`.

    Raises:
        MissingArtifact: a table or a cache is gone.
        InputError: a table cannot be read.
    """
    table = read_meta(data, task, (THICKNESS_COLUMN, "status", "notes"))
    meta = typed_meta(table, data, task)
    refused = read_rejected(data)
    places, left_out = _places(data, meta, refused, task)
    figures = {
        "funnel": _funnel(meta, refused),
        "patients": int(meta["group"].nunique()),
        "rejected": _reasons(refused.loc[refused["file"] == "", "reason"]),
        "lost": _reasons(refused.loc[refused["file"] != "", "reason"]),
        "notes": _reasons(note for cell in meta["notes"] for note in cell.split(";") if note),
        "modalities": _modalities(meta, task),
        "with_finding": int(task.has_finding(meta[list(task.labels)].to_numpy()).sum()),
        "locations": _locations(meta, task),
        "contradictions": [
            {"series": str(uid), "locations": found}
            for uid, row in meta[list(task.labels)].iterrows()
            if (found := contradictions(row.to_numpy(), task))
        ],
        "centres": None if places is None else len(places),
        "centres_left_out": left_out,
    }
    page = (
        page_environment()
        .get_template(TEMPLATE)
        .render(
            **figures,
            task=task,
            places=data_uri(places_figure(places)) if places else None,
            no_places="no train_localizers.csv lies beside the tables"
            if places is None and task.locations
            else "",
            histograms=_histograms(data, meta),
            contacts=_contacts(data, meta),
            versions=versions(),
        )
    )
    write_json(data.report_figures, figures)
    with atomic_open(data.report) as file:
        file.write(page)


def _funnel(meta: pd.DataFrame, refused: pd.DataFrame) -> list[dict[str, Any]]:
    """What became of the series of train.csv, from all of them to those that are lost."""
    out = int((refused["file"] == "").sum())
    partial = meta["status"] == PARTIAL
    noted = (meta["notes"] != "") & ~partial
    counts = {
        "listed in train.csv": len(meta) + out,
        "read": len(meta),
        "… without remarks": int((~noted & ~partial).sum()),
        "… with notes": int(noted.sum()),
        "… in part: image data is missing": int(partial.sum()),
        "rejected": out,
    }
    return [{"name": name, "count": count} for name, count in counts.items()]


def _reasons(codes: Iterable[str]) -> list[dict[str, Any]]:
    """Codes with their meaning and how often they came, the commonest first."""
    counts = Counter(base_code(code) for code in codes)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [
        _reason(code, CODES[code].meaning if code in CODES else "", count)
        for code, count in ordered
    ]


def _reason(code: str, words: str, count: int) -> dict[str, Any]:
    return {"code": code, "words": words, "count": count}


def _modalities(meta: pd.DataFrame, task: Task) -> list[dict[str, Any]]:
    """One row of the table of modalities each."""
    rows = []
    for name, part in meta.groupby("Modality", sort=True):
        spacing = float(part["spacing_slice"].median())
        planes = Counter(part["plane"].where(part["geometry_known"] == 1, "not known"))
        rows.append(
            {
                "name": name,
                "series": len(part),
                "patients": part["group"].nunique(),
                "positive": int(task.has_finding(part[list(task.labels)].to_numpy()).sum()),
                "slices": float(part["n"].median()),
                "spacing": spacing if math.isfinite(spacing) else None,
                "planes": dict(planes.most_common()),
            }
        )
    return rows


def _locations(meta: pd.DataFrame, task: Task) -> list[dict[str, Any]]:
    """Series with each label, by modality; the overall one is last."""
    names = sorted(meta["Modality"].unique())
    return [
        {
            "name": label,
            "count": int((meta[label] == 1).sum()),
            "unknown": int(meta[label].isna().sum()),
            "by": {
                name: int((meta.loc[meta["Modality"] == name, label] == 1).sum()) for name in names
            },
        }
        for label in (*task.others, *([task.overall] if task.overall else []))
    ]


def _places(
    data: DataPaths, meta: pd.DataFrame, refused: pd.DataFrame, task: Task
) -> tuple[list[Place] | None, list[dict[str, Any]]]:
    """Labelled centres in mm from the middle of their series, and rows that cannot be placed.

    None where there is no table of centres. A table that cannot be read at all is a reason too:
    the tables of series are whole without it.
    """
    if not (task.locations and data.localizers_csv.exists()):
        return None, []
    slices = read_slices(data)
    gone = rejected_series(refused)
    try:
        kept, left_out = read_localizers(data.localizers_csv, meta, slices, task, gone)
    except InputError as error:
        return [], [_reason("unreadable", str(error), 1)]
    found = []
    for finding in kept:
        if finding.mm is None:
            continue
        cells: Any = meta.loc[finding.series]
        geometry = Geometry.from_row(cells)
        rows, columns = geometry.canonical_shape
        middle = [(columns - 1) / 2, (rows - 1) / 2, (int(cells["n"]) - 1) / 2, 1]
        left, posterior, superior = (finding.mm - geometry.affine[:3] @ middle).tolist()
        found.append(Place(finding.location, left, posterior, superior))
    counts = count_reasons(left_out)
    return found, [_reason(code, REASONS[code], count) for code, count in counts.items()]


def _spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` numbers below `count`, evenly apart."""
    if not count:
        return []
    return sorted({int(i) for i in np.linspace(0, count - 1, min(count, wanted)).round()})


def _histograms(data: DataPaths, meta: pd.DataFrame) -> str | None:
    """Slices, thickness, spacing and values by modality, a picture; None without any series."""
    panels = {}
    for name, part in meta.groupby("Modality", sort=True):
        known = part[part["geometry_known"] == 1]
        values = [_values(data, part.index[i]) for i in _spread(len(part), SAMPLED_SERIES)]
        panels[f"{name} ({len(part)})"] = {
            "slices": part["n"].to_numpy(dtype=np.float64),
            "slice thickness in mm": part[THICKNESS_COLUMN].dropna().to_numpy(dtype=np.float64),
            "mm between slices": known["spacing_slice"].to_numpy(dtype=np.float64),
            "mm between pixels": known["spacing_column"].to_numpy(dtype=np.float64),
            "cached value": np.concatenate(values),
        }
    return data_uri(histograms(panels)) if panels else None


def _values(data: DataPaths, uid: str) -> np.ndarray:
    """Float32 (k,): sampled values of one series above 0, which is background and padding."""
    volume = ImageFile(data.sequence(uid), MADE_BY["preprocess"])
    at = sorted({int(share * (len(volume) - 1)) for share in SAMPLED_SHARES})
    images = [volume[index][::SAMPLED_PIXEL, ::SAMPLED_PIXEL] for index in at]
    values = np.asarray(images, dtype=np.float32).ravel()
    return values[values > 0]


def _contacts(data: DataPaths, meta: pd.DataFrame) -> list[dict[str, str]]:
    """One contact sheet per modality: the middle slices of series spread over the table."""
    groups = list(meta.groupby("Modality", sort=True))
    sheets = []
    for name, part in groups:
        pictures = []
        for i in _spread(len(part), max(PICTURES // len(groups), 1)):
            uid = str(part.index[i])
            cells: Any = part.iloc[i]
            geometry = Geometry.from_row(cells)
            volume = ImageFile(data.sequence(uid), MADE_BY["preprocess"])
            middle = len(volume) // 2
            x_mm, y_mm = pixel_mm(geometry, volume.shape[-1])
            directions, place = array_directions(geometry), ""
            if directions is not None:
                rows, columns = geometry.canonical_shape
                centre = np.array([(columns - 1) / 2, (rows - 1) / 2, middle, 1])
                place = ", " + place_in_words(geometry.affine[:3] @ centre, directions[:, 2])
            pictures.append(
                ContactPicture(
                    title=f"…{uid[-6:]} {middle}/{len(volume)}{place}",
                    image=np.asarray(volume[middle], dtype=np.float32),
                    pixel_mm=(y_mm, x_mm),
                    directions=directions,
                )
            )
        sheets.append({"name": str(name), "image": photo_uri(contact_sheet(pictures))})
    return sheets
