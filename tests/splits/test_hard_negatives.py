"""Hard negatives: mined by other folds, or from the original's pickle, which is not trusted."""

import collections
import datetime
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from intracranial.artifacts import FoldPaths, write_csv
from intracranial.errors import InputError, MissingArtifact, StaleArtifact
from intracranial.provenance import Request
from intracranial.splits.folds import Split
from intracranial.splits.hard_negatives import COLUMNS, hard_negatives, read_original_pickle
from intracranial.splits.make_split import make_split
from intracranial.splits.split_files import cache_inputs, load_split, save_split
from intracranial.tasks import RSNA_2025, SERIES_COLUMN
from tests.sampling.fold_data import TinyData, cohort


@pytest.fixture
def split(tmp_path: Path) -> Split:
    return split_of(cohort(tmp_path / "data").write())


def split_of(data: TinyData) -> Split:
    made = make_split(data.paths, 3, 0, 2.0, RSNA_2025)
    request = Request("folds", {"folds": 3}, cache_inputs(data.paths))
    save_split(data.paths, 3, 0, made, request)
    return load_split(data.paths, 3)


def pickled(path: Path, content: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize(
    "content",
    [
        {"1.2": [3, 5], "1.3": []},
        {"1.2": (3, 5), "1.3": ()},
        {"1.2": {3, 5}, "1.3": set()},
        {"1.2": np.array([3, 5]), "1.3": np.array([], dtype=np.int16)},
        {"1.2": [np.int64(3), np.int64(5)], "1.3": []},
        collections.defaultdict(list, {"1.2": [3, 5], "1.3": []}),
    ],
    ids=["lists", "tuples", "sets", "arrays", "numpy integers", "defaultdict"],
)
def test_a_real_file_is_read(tmp_path: Path, content: object, protocol: int):
    found = read_original_pickle(pickled(tmp_path / "f_dict_hard.pkl", content, protocol))
    assert sorted(found["1.2"].tolist()) == [3, 5]
    assert found["1.2"].dtype == np.int64 and found["1.3"].shape == (0,)


class Hostile:
    def __init__(self, call, *arguments: object) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


def test_nothing_in_a_hostile_file_is_run(tmp_path: Path):
    touched = tmp_path / "ran"
    for number, call in enumerate((os.system, eval, os.mkdir, getattr)):
        arguments = ("touch " + str(touched),) if call is os.system else (str(touched),)
        arguments = ("f", "g") if call is getattr else arguments
        path = pickled(tmp_path / f"{number}.pkl", {"1.2": Hostile(call, *arguments)})
        with pytest.raises(InputError, match="is refused: it refers to"):
            read_original_pickle(path)
    assert not touched.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "not a dict"),
        ({3: [1]}, "3"),
        ({"1.2": [1.5]}, "'1.2' is no list of integers"),
        ({"1.2": ["1"]}, "'1.2' is no list of integers"),
        ({"1.2": [True]}, "'1.2' is no list of integers"),
        ({"1.2": np.array([[1]])}, "'1.2' is no list of integers"),
        ({"1.2": np.array([{}], dtype=object)}, "'1.2' is no list|is refused"),
        ({"1.2": datetime.date(2025, 1, 1)}, r"refers to datetime\.date"),
        ({"1.2": [[1], [2, 3]]}, "'1.2' is no list of integers"),
        ({"1.2": 5}, "'1.2' is no list of integers"),
    ],
)
def test_anything_but_integers_by_series_is_refused(tmp_path: Path, content: object, words: str):
    with pytest.raises(InputError, match=words):
        read_original_pickle(pickled(tmp_path / "hard.pkl", content))


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x80\x04.", b"cos\nsystem\n(S'true'\ntR."])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "hard.pkl").write_bytes(content)
    with pytest.raises(InputError, match="is refused"):
        read_original_pickle(tmp_path / "hard.pkl")


def test_a_missing_file_is_said(tmp_path: Path, split: Split):
    with pytest.raises(InputError, match="there is no such run or file"):
        hard_negatives(str(tmp_path / "none.pkl"), tmp_path, split, 0, [])


def test_the_originals_indices_count_only_where_its_slice_order_is_ours(
    tmp_path: Path, split: Split
):
    planes = dict(split.series["plane"])
    path = pickled(tmp_path / "hard.pkl", {**{uid: [1] for uid in planes}, "9.9.9": [1]})
    uids = split.training(0)
    found = hard_negatives(str(path), tmp_path, split, 0, uids)
    known = split.series["geometry_known"].astype(bool)
    assert set(found) == {uid for uid in uids if planes[uid] == "axial" and known[uid]}
    assert not set(found) & set(split.held_out(0))


def mined(model: Path, split: Split, fold: int, hash_: str) -> None:
    rows = [
        {SERIES_COLUMN: uid, "index": index, "probability": 0.5, "split_hash": hash_}
        for uid in split.held_out(fold)
        for index in (1, 4)
    ]
    write_csv(FoldPaths(model, "first", fold).hard_negatives, COLUMNS, rows)


def test_a_fold_takes_the_hard_negatives_of_the_other_folds_only(tmp_path: Path, split: Split):
    for fold in (1, 2):
        mined(tmp_path, split, fold, split.split_hash)
    found = hard_negatives("first", tmp_path, split, 0, split.training(0))
    assert sorted(found) == split.training(0)
    assert all(indices.tolist() == [1, 4] for indices in found.values())
    with pytest.raises(MissingArtifact, match="--mine_hard_negatives --fold 0 of run first"):
        hard_negatives("first", tmp_path, split, 1, split.training(1))
    with pytest.raises(MissingArtifact, match="--fold 0"):
        hard_negatives("first", tmp_path, split, "final", split.training("final"))


def test_hard_negatives_of_another_split_are_stale(tmp_path: Path, split: Split):
    mined(tmp_path, split, 1, split.split_hash)
    mined(tmp_path, split, 2, "0123456789abcdef")
    with pytest.raises(StaleArtifact, match="mined with split 0123456789abcdef, but the present"):
        hard_negatives("first", tmp_path, split, 0, split.training(0))


def test_without_a_source_there_are_none(tmp_path: Path, split: Split):
    assert hard_negatives(None, tmp_path, split, 0, split.training(0)) == {}
