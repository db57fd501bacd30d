"""What create_folds.py takes from the tables of preprocess_data.py."""

from pathlib import Path

import pytest

from intracranial.artifacts import DataPaths, write_csv
from intracranial.caching.tables import read_rejected, rejected_series
from intracranial.errors import InputError
from intracranial.tasks import SERIES_COLUMN


def test_a_series_read_in_part_is_not_rejected(tmp_path: Path):
    data = DataPaths(tmp_path)
    rows = [
        {SERIES_COLUMN: "1.1", "file": "", "reason": "not_dicom"},
        {SERIES_COLUMN: "1.2", "file": "a.dcm", "reason": "undecodable_pixels"},
    ]
    write_csv(data.rejected_csv, (SERIES_COLUMN, "file", "reason", "words"), rows)
    assert rejected_series(read_rejected(data)) == {"1.1"}


def test_a_table_of_before_files_were_named_is_refused(tmp_path: Path):
    data = DataPaths(tmp_path)
    write_csv(data.rejected_csv, (SERIES_COLUMN, "reason"), [{SERIES_COLUMN: "1.1"}])
    with pytest.raises(InputError, match="no column file"):
        read_rejected(data)
