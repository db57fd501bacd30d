"""Folds: whole patients, balanced labels, and a split that later stages can trust."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from intracranial.artifacts import FINAL_FOLD, DataPaths
from intracranial.caching.tables import with_types
from intracranial.errors import InputError, MissingArtifact, StaleArtifact, UsageError
from intracranial.provenance import Request, file_digest
from intracranial.splits.findings import read_findings, write_findings
from intracranial.splits.folds import (
    Split,
    assign_folds,
    check_fold,
    check_no_leak,
    chosen_folds,
    split_hash,
)
from intracranial.splits.make_split import make_split
from intracranial.splits.split_files import cache_inputs, load_split, needs_work, save_split
from intracranial.splits.summary import fold_table, rare_labels
from intracranial.tasks import RSNA_2025, SERIES_COLUMN
from tests.challenge import ANEURYSM_PRESENT, LABELS, LOCATIONS
from tests.sampling.fold_data import TinyData, cohort


def typed(data: TinyData) -> pd.DataFrame:
    return with_types(pd.DataFrame(data.meta).astype(str), data.root, RSNA_2025).set_index(
        SERIES_COLUMN
    )


def make(data: DataPaths, folds: int, seed: int = 0) -> dict:
    request = Request("folds", {"folds": folds, "seed": seed}, cache_inputs(data))
    return save_split(data, folds, seed, make_split(data, folds, seed, 2.0, RSNA_2025), request)


@pytest.fixture
def data(tmp_path: Path) -> DataPaths:
    return cohort(tmp_path).write().paths


def test_a_patient_is_never_on_both_sides(tmp_path: Path):
    series = typed(cohort(tmp_path, patients=60))
    series["fold"] = assign_folds(series, 5, 0, RSNA_2025)
    assert series["group"].duplicated().any()
    assert (series.groupby("group")["fold"].nunique() == 1).all()


def test_a_leak_is_an_error_that_names_the_patient_and_the_series():
    series = pd.DataFrame(
        {"group": ["a", "b", "b"], "fold": [0, 0, 1]}, index=pd.Index(["1.1", "1.2", "1.3"])
    )
    with pytest.raises(InputError, match=r"group b .*1\.2 in fold 0, 1\.3 in fold 1"):
        check_no_leak(series)


def test_labels_and_modalities_are_spread_over_the_folds(tmp_path: Path):
    series = typed(cohort(tmp_path, patients=130))
    series["fold"] = assign_folds(series, 5, 0, RSNA_2025)
    positives = series.groupby("fold")[ANEURYSM_PRESENT].sum()
    assert positives.max() - positives.min() <= 4
    for location in LOCATIONS:
        # Five patients each, some with two series.
        assert (series[series[location] == 1].groupby("fold")["group"].nunique() <= 2).all()
    for _, rows in series.groupby("Modality"):
        counts = rows["fold"].value_counts()
        assert len(counts) == 5 and counts.max() - counts.min() <= 5


def test_folds_depend_on_the_seed_and_not_on_the_order_of_the_rows(tmp_path: Path):
    series = typed(cohort(tmp_path))
    first = assign_folds(series, 4, 0, RSNA_2025)
    assert assign_folds(series.iloc[::-1], 4, 0, RSNA_2025)[first.index].equals(first)
    assert not assign_folds(series, 4, 1, RSNA_2025).equals(first)


@pytest.mark.parametrize("folds", [2, 7, 13])
def test_no_fold_is_empty_even_with_as_many_folds_as_patients(tmp_path: Path, folds: int):
    data = TinyData(tmp_path)
    for number in range(folds):
        data.add_series(f"1.{number}", *LOCATIONS[number % 3 :: 3])
    assert sorted(assign_folds(typed(data), folds, 0, RSNA_2025)) == list(range(folds))


def test_fewer_patients_than_folds_is_a_usage_error_that_quotes_the_flag(tmp_path: Path):
    data = TinyData(tmp_path)
    for number in range(6):
        data.add_series(f"1.{number}", group=f"patient {number % 3}")
    with pytest.raises(UsageError, match=r"--folds 4: .* only 3 patient groups among 6 series"):
        assign_folds(typed(data), 4, 0, RSNA_2025)


def test_the_hash_follows_the_division_and_not_the_order():
    assert split_hash({"1.1": 0, "1.2": 1}) == split_hash({"1.2": 1, "1.1": 0})
    assert split_hash({"1.1": 0, "1.2": 1}) != split_hash({"1.1": 1, "1.2": 1})


def test_a_loaded_split_has_fixed_types_and_sorted_sides(data: DataPaths):
    manifest = make(data, 4)
    split = load_split(data, None)
    assert (split.folds, split.identity, split.partial) == (4, manifest.identity, None)
    assert split.split_hash == split_hash(split.series["fold"]) == manifest.split_hash
    assert split.series[["fold", "localized", "n"]].dtypes.eq("int64").all()
    assert split.series[list(LABELS)].dtypes.eq("float64").all()  # NaN where not known
    assert split.series["spacing_slice"].dtype == "float64"
    assert set(split.series["PatientAge"]) == {"060"}
    assert split.spots[["x", "y", "x_mm", "y_mm", "z_mm"]].dtypes.eq("float64").all()
    negatives = split.spots[split.spots["kind"] == "negative"]
    assert negatives["location"].eq("").all() and negatives["x"].isna().all()
    for fold in range(4):
        inside, outside = split.held_out(fold), split.training(fold)
        assert inside == sorted(inside) and outside == sorted(outside)
        assert sorted(inside + outside) == sorted(split.series.index)
        groups = split.series["group"]
        assert not set(groups[inside]) & set(groups[outside])
    assert split.training(FINAL_FOLD) == sorted(split.series.index)


def test_spots_carry_the_fold_and_group_of_their_series(data: DataPaths):
    make(data, 4)
    split = load_split(data, 4)
    rows = split.series.loc[split.spots[SERIES_COLUMN]]
    for column in ("fold", "group"):
        assert (rows[column].to_numpy() == split.spots[column].to_numpy()).all()


def test_the_same_seed_gives_the_same_bytes(data: DataPaths):
    def written() -> list[bytes]:
        files = (data.folds_csv(4), data.spots_csv(4), data.folds_manifest)
        return [path.read_bytes() for path in files]

    make(data, 4)
    first = written()
    make(data, 4)
    assert written() == first
    make(data, 4, seed=1)
    assert all(old != new for old, new in zip(first, written(), strict=True))


def test_cells_of_train_meta_are_copied_unchanged(data: DataPaths):
    make(data, 4)
    before = pd.read_csv(data.train_meta_csv, dtype=str, keep_default_na=False)
    after = pd.read_csv(data.folds_csv(4), dtype=str, keep_default_na=False)
    assert after[before.columns].equals(before.sort_values(SERIES_COLUMN, ignore_index=True))


def test_several_splits_coexist_and_one_must_be_named(data: DataPaths):
    make(data, 3)
    make(data, 5)
    assert load_split(data, 3).folds == 3
    assert load_split(data, 5).folds == 5
    with pytest.raises(UsageError, match="give --folds with one of 3, 5"):
        load_split(data, None)
    with pytest.raises(UsageError, match=r"--folds 7: .* only 3, 5; .*create_folds\.py --folds 7"):
        load_split(data, 7)


def test_a_fold_out_of_range_is_a_usage_error_that_quotes_the_flag(data: DataPaths):
    make(data, 5)
    split = load_split(data, 5)
    assert check_fold(split, "4") == 4
    assert chosen_folds(split, "all") == [0, 1, 2, 3, 4]
    assert chosen_folds(split, FINAL_FOLD) == [FINAL_FOLD]
    assert chosen_folds(split, "2") == [2]
    for call in (split.held_out, split.training, lambda fold: check_fold(split, fold)):
        with pytest.raises(UsageError, match=r"--fold 7: this split has folds 0\.\.4"):
            call(7)
    with pytest.raises(UsageError, match="--fold -1"):
        check_fold(split, -1)


def test_without_a_split_the_message_names_the_script(data: DataPaths):
    with pytest.raises(MissingArtifact, match=r"run create_folds\.py first"):
        load_split(data, None)
    make(data, 4)
    data.spots_csv(4).unlink()
    with pytest.raises(MissingArtifact, match=r"create_folds\.py --folds 4"):
        load_split(data, 4)


def test_a_split_of_other_caches_is_stale(tmp_path: Path):
    tiny = cohort(tmp_path).write()
    make(tiny.paths, 4)
    tiny.write(preprocess="second")
    with pytest.raises(StaleArtifact, match=r"train_4_folds\.csv is stale.*Rerun create_folds"):
        load_split(tiny.paths, 4)


def test_a_split_without_a_series_that_was_read_later_is_stale(tmp_path: Path):
    # A series that failed for want of memory is read again: same files, same options, a new row.
    tiny = cohort(tmp_path).write()
    make(tiny.paths, 4)
    tiny.add_series("9.9")
    tiny.write()
    with pytest.raises(StaleArtifact, match=r"made from train_meta\.csv"):
        load_split(tiny.paths, 4)


def test_a_table_edited_by_hand_is_stale(data: DataPaths):
    make(data, 4)
    with open(data.spots_csv(4), "a", encoding="utf-8") as file:
        file.write("\n")
    with pytest.raises(StaleArtifact, match=r"train_stage1_4_folds\.csv was changed"):
        load_split(data, 4)


def test_a_leak_in_the_file_is_found_even_if_the_manifest_agrees(data: DataPaths):
    make(data, 4)
    table = pd.read_csv(data.folds_csv(4), dtype=str, keep_default_na=False)
    table.loc[table["group"] == table["group"].mode()[0], "fold"] = ["0", "1"]
    table.to_csv(data.folds_csv(4), index=False)
    content = json.loads(data.folds_manifest.read_text())
    files = content["splits"]["4"]["files"]
    files[data.folds_csv(4).name] = file_digest(data.folds_csv(4))
    data.folds_manifest.write_text(json.dumps(content))
    with pytest.raises(InputError, match="is in several folds"):
        load_split(data, 4)


def test_no_usable_localizer_is_an_error_with_the_reasons(tmp_path: Path):
    tiny = cohort(tmp_path)
    for row in tiny.localizers:
        row["SOPInstanceUID"] = "0.0"
    tiny.write()
    with pytest.raises(InputError, match=r"no row can be used \(\d+ unknown_slice\)"):
        make_split(tiny.paths, 4, 0, 2.0, RSNA_2025)


def test_a_series_without_a_patient_group_is_an_error_with_its_line(tmp_path: Path):
    tiny = cohort(tmp_path)
    tiny.meta[2]["group"] = ""
    tiny.write()
    with pytest.raises(InputError, match=r"train_meta\.csv, line 4: group '' is empty"):
        make_split(tiny.paths, 4, 0, 2.0, RSNA_2025)


def test_a_cell_that_is_no_number_is_an_error_with_its_place(tmp_path: Path):
    tiny = cohort(tmp_path)
    tiny.meta[2]["n"] = "many"
    tiny.write()
    with pytest.raises(InputError, match=r"train_meta\.csv, line 4, column n: 'many' is not"):
        make_split(tiny.paths, 4, 0, 2.0, RSNA_2025)


def test_a_missing_file_of_a_finished_split_is_made_again(data: DataPaths):
    make(data, 4)
    manifest = json.loads(data.folds_manifest.read_text())["splits"]["4"]
    request = Request("folds", manifest["config"], manifest["inputs"])
    assert not needs_work(data, 4, request, overwrite=False)
    assert needs_work(data, 4, request, overwrite=True)
    data.folds_csv(4).unlink()
    assert needs_work(data, 4, request, overwrite=False)


def test_a_split_has_the_findings_of_each_series_by_slice(data: DataPaths):
    make(data, 4)
    split = load_split(data, 4)
    findings = read_findings(data.findings_csv, "create_folds.py")
    assert [one for found in split.findings.values() for one in found] == findings
    positives = split.spots[split.spots["kind"] == "positive"]
    assert [(one.series, one.index, one.location, *one.mm) for one in findings] == list(
        positives[[SERIES_COLUMN, "index", "location", "x_mm", "y_mm", "z_mm"]].itertuples(
            index=False, name=None
        )
    )


def test_without_its_findings_a_split_is_made_again_to_the_same_bytes(data: DataPaths):
    """A data folder that an earlier version made has no findings.csv."""
    make(data, 4)
    before = data.findings_csv.read_bytes()
    data.findings_csv.unlink()
    with pytest.raises(MissingArtifact, match=r"findings\.csv is missing: run create_folds\.py"):
        load_split(data, 4)
    manifest = json.loads(data.folds_manifest.read_text())["splits"]["4"]
    request = Request("folds", manifest["config"], manifest["inputs"])
    assert needs_work(data, 4, request, overwrite=False)
    make(data, 4)
    assert data.findings_csv.read_bytes() == before


@pytest.mark.parametrize("change", ["another place", "a row less", "another order"])
def test_findings_of_other_localizers_than_those_of_the_split_are_stale(
    data: DataPaths, change: str
):
    make(data, 4)
    found = read_findings(data.findings_csv, "create_folds.py")
    first, *others = found
    other = {
        "another place": [replace(first, x=first.x + 1), *others],
        "a row less": others,
        "another order": [*others, first],
    }
    write_findings(data.findings_csv, other[change])
    words = r"findings\.csv has other findings than .*train_stage1_4_folds\.csv.*--folds 4 --overw"
    with pytest.raises(StaleArtifact, match=words):
        load_split(data, 4)
    manifest = json.loads(data.folds_manifest.read_text())["splits"]["4"]
    request = Request("folds", manifest["config"], manifest["inputs"])
    with pytest.raises(StaleArtifact, match=words):
        needs_work(data, 4, request, overwrite=False)


def test_the_table_has_a_line_per_fold_and_rare_labels_are_named(data: DataPaths):
    split_rows = make_split(data, 4, 0, 2.0, RSNA_2025)
    lines = fold_table(split_rows.series, split_rows.spots, 4, RSNA_2025).splitlines()
    assert [line.split()[0] for line in lines] == ["fold", "0", "1", "2", "3"]
    warnings = rare_labels(split_rows.series, 4, RSNA_2025)
    assert any(w.startswith("Basilar Tip: ") and "4 folds" in w for w in warnings)
    assert not any(w.startswith(ANEURYSM_PRESENT) for w in warnings)


def test_a_split_cannot_be_changed(data: DataPaths):
    make(data, 4)
    split: Split = load_split(data, 4)
    with pytest.raises(AttributeError):
        split.folds = 3  # type: ignore[misc]
