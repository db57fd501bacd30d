"""What the tests of cases share: looking at a series, changing its files."""

import numpy as np
import pydicom
import pytest

from intracranial.imaging.series import Series, SeriesError, read_series
from tests.imaging.make_series import (
    Stored,
)

HU = -1024.0
"""Intercept that `write_single_frames` states."""


def left_out(series: Series) -> dict[str, list[str]]:
    """Code -> names of the files, or "file#frame" for frames of multi-frame files."""
    found: dict[str, list[str]] = {}
    for entry in series.left_out:
        name = entry.file + (f"#{entry.frame}" if entry.frame else "")
        found.setdefault(entry.code, []).append(name)
    return found


def codes(series: Series) -> set[str]:
    return {note.split(":")[0] for note in series.notes}


def rejection(folder) -> str:
    with pytest.raises(SeriesError) as caught:
        read_series(folder)
    assert str(folder) in str(caught.value)
    return caught.value.code


def edit(path, **tags) -> None:
    """Set root elements of a file; None removes one."""
    dataset = pydicom.dcmread(path)
    for keyword, value in tags.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path)


def joined(*parts: Stored) -> Stored:
    """Several stacks of one orientation as the files of one series."""
    return Stored(
        np.concatenate([part.images for part in parts]),
        parts[0].iop,
        np.concatenate([part.positions for part in parts]),
        parts[0].spacing,
    )
