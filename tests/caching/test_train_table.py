"""train.csv: what is refused by its line, and what is only named."""

import csv
import logging
from pathlib import Path

import pytest

from intracranial.caching.train_table import read_train_csv
from intracranial.errors import InputError
from intracranial.tasks import RSNA_2025, SERIES_COLUMN
from tests.challenge import ANEURYSM_PRESENT, LABELS, TRAIN_COLUMNS

BASILAR = "Basilar Tip"


def row(uid: str, *present: str, modality: str = "CTA") -> list[str]:
    return [uid, "55", "Female", modality, *(str(int(label in present)) for label in LABELS)]


def write(folder: Path, *rows: list[str], header=TRAIN_COLUMNS) -> Path:
    path = folder / "train.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def warnings(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING)


def test_blanks_round_cells_and_headers_change_nothing(tmp_path: Path):
    rows = [row("1.1", BASILAR, ANEURYSM_PRESENT), row("1.2")]
    plain = read_train_csv(write(tmp_path, *rows), RSNA_2025)
    blank = [[f" {cell}\xa0" for cell in cells] for cells in (TRAIN_COLUMNS, *rows)]
    assert read_train_csv(write(tmp_path, *blank[1:], header=blank[0]), RSNA_2025) == plain


def test_an_aneurysm_at_a_location_but_none_overall_is_named(tmp_path: Path, caplog):
    path = write(tmp_path, row("1.1", BASILAR, ANEURYSM_PRESENT), row("1.2", BASILAR))
    _, rows = read_train_csv(path, RSNA_2025)
    assert [one[BASILAR] for one in rows] == ["1", "1"]
    assert f"1 series have a label, while '{ANEURYSM_PRESENT}' is 0" in (warnings(caplog))
    assert f"line 3: 1.2 ({BASILAR})" in warnings(caplog)
    assert "1.1" not in warnings(caplog)


def test_a_modality_in_other_case_is_named_with_the_nearest(tmp_path: Path, caplog):
    read_train_csv(write(tmp_path, row("1.1"), row("1.2", modality="mri t2")), RSNA_2025)
    assert "line 3: 'mri t2' (nearest: MRI T2" in warnings(caplog)


def test_a_table_without_doubts_says_nothing(tmp_path: Path, caplog):
    read_train_csv(write(tmp_path, row("1.1", BASILAR, ANEURYSM_PRESENT), row("1.2")), RSNA_2025)
    assert not warnings(caplog)


def test_errors_count_lines_as_an_editor_does(tmp_path: Path):
    path = write(tmp_path, row("1.1"), row("1.2"))
    text = path.read_text(encoding="utf-8").replace("Female", '"Fe\nmale"', 1)
    path.write_text(text.replace("1.2,", "1 2,"), encoding="utf-8")
    with pytest.raises(InputError, match=r"line 4: '1 2' cannot name a series"):
        read_train_csv(path, RSNA_2025)


def test_a_label_in_words_is_named_with_line_and_value(tmp_path: Path):
    bad = row("1.2")
    bad[-1] = "yes"
    with pytest.raises(InputError, match=f"column {ANEURYSM_PRESENT}: line 3: 'yes' is neither"):
        read_train_csv(write(tmp_path, row("1.1"), bad), RSNA_2025)


def test_a_column_in_other_case_is_named_with_the_nearest(tmp_path: Path):
    header = [name.lower() if name == BASILAR else name for name in TRAIN_COLUMNS]
    with pytest.raises(InputError, match=r"no column 'Basilar Tip' \(nearest: basilar tip\)"):
        read_train_csv(write(tmp_path, row("1.1"), header=header), RSNA_2025)


def test_a_row_with_a_cell_too_many_is_refused_by_its_line(tmp_path: Path):
    with pytest.raises(InputError, match=r"line 3: the row has more cells than the header"):
        read_train_csv(write(tmp_path, row("1.1"), [*row("1.2"), "more"]), RSNA_2025)


def test_a_series_that_is_there_twice_is_named_with_its_lines(tmp_path: Path):
    rows = [row("1.1"), row("1.2"), [f" {cell}" for cell in row("1.1")]]
    with pytest.raises(InputError, match=rf"column {SERIES_COLUMN}: 1\.1 .*lines 2, 4"):
        read_train_csv(write(tmp_path, *rows), RSNA_2025)


def test_decimals_of_a_column_with_gaps_are_labels(tmp_path: Path):
    given = row("1.1", BASILAR, ANEURYSM_PRESENT)
    given[4:] = [{"0": "0.0", "1": "1.0"}[cell] for cell in given[4:]]
    given[4] = ""
    _, (read,) = read_train_csv(write(tmp_path, given), RSNA_2025)
    assert [read[label] for label in (LABELS[0], LABELS[1], BASILAR)] == ["", "0", "1"]


def test_a_folder_of_other_labels_without_a_task_is_told_of_task_yaml(tmp_path: Path):
    path = write(tmp_path, ["1.1", "1"], header=("SeriesInstanceUID", "bleed"))
    with pytest.raises(InputError, match=r"task\.yaml beside it names other labels"):
        read_train_csv(path, RSNA_2025)
