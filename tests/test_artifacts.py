"""Files: written whole or not at all, read with a message that helps."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from intracranial.artifacts import (
    FoldPaths,
    ImageFile,
    atomic_open,
    atomic_path,
    free_gib,
    load_array,
    read_json,
    remove_temporaries,
    save_array,
    write_csv,
    write_json,
)
from intracranial.errors import InputError, MissingArtifact
from intracranial.sampling.features import FeatureSet, save_features
from intracranial.training.checkpoint import save_state, save_weights
from tests.test_bad_input import full_disk

FEATURES = FeatureSet(
    np.zeros((60, 64), np.float16), np.zeros((60, 14), np.float32), np.zeros((60, 13, 3), "f4")
)
WRITERS: dict[str, Callable[[Path], None]] = {
    "json": lambda path: write_json(path, {"long": "x" * 5000}),
    "csv": lambda path: write_csv(path, ["a"], ({"a": k} for k in range(2000))),
    "array": lambda path: save_array(path, np.zeros(5000)),
    "weights": lambda path: save_weights(path, nn.Linear(60, 60)),
    "state": lambda path: save_state(path, {"model": nn.Linear(60, 60).state_dict()}),
    "features": lambda path: save_features(path, {(1, 0): FEATURES}, "identity"),
}


def test_an_error_while_writing_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path):
    path = tmp_path / "deep" / "table.csv"
    with atomic_open(path) as file:
        file.write("old")
    with pytest.raises(KeyboardInterrupt), atomic_open(path) as file:
        file.write("half of the new")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path):
    path = tmp_path / "a.npy"
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists() and temporary.parent == path.parent
    assert path.read_text() == "whole" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_an_os_error_with_the_file_and_leaves_nothing(tmp_path: Path, writer: str):
    path = tmp_path / "file"
    with (
        full_disk(1000),
        pytest.raises(OSError, match=r"File too large|not written whole") as raised,
    ):
        WRITERS[writer](path)
    assert str(raised.value.filename) == str(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("writer", WRITERS)
def test_every_file_can_be_read_by_those_whom_the_umask_allows(tmp_path: Path, writer: str):
    before = os.umask(0o022)
    try:
        WRITERS[writer](tmp_path / "file")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_what_killed_runs_left_is_removed_and_nothing_else(tmp_path: Path):
    for name in (".a.safetensors.123.partial", "a.safetensors", ".hidden"):
        (tmp_path / name).touch()
    remove_temporaries(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "a.safetensors"]
    remove_temporaries(tmp_path / "none")


def test_equal_json_gives_equal_bytes_whatever_the_order(tmp_path: Path):
    write_json(tmp_path / "a", {"x": 1, "y": {"b": None, "a": 2.5}})
    write_json(tmp_path / "b", {"y": {"a": 2.5, "b": None}, "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_json_has_no_nan(tmp_path: Path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a", {"x": float("nan")})
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("text", ["{", "[1]", '"x"', "\xff"])
def test_a_damaged_json_file_is_named_with_its_script(tmp_path: Path, text: str):
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"a\.json.*delete it and run some\.py"):
        read_json(path, "some.py")
    path.unlink()
    with pytest.raises(MissingArtifact, match=r"a\.json is missing: run some\.py first"):
        read_json(path, "some.py")


def test_a_table_keeps_floats_exactly_and_leaves_missing_values_empty(tmp_path: Path):
    rows = [{"a": 0.1 + 0.2, "b": None}, {"a": float("nan"), "b": np.float32(0.5)}, {"b": "x,y"}]
    write_csv(tmp_path / "t.csv", ["a", "b"], rows)
    assert (tmp_path / "t.csv").read_text() == 'a,b\n0.30000000000000004,\n,0.5\n,"x,y"\n'


def test_arrays_with_objects_are_neither_written_nor_read(tmp_path: Path):
    with pytest.raises(ValueError, match="allow_pickle"):
        save_array(tmp_path / "a.npy", np.array([object()]))
    assert list(tmp_path.iterdir()) == []
    np.save(tmp_path / "b.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(InputError, match=r"run some\.py"):
        load_array(tmp_path / "b.npy", "some.py")
    with pytest.raises(MissingArtifact, match=r"run some\.py first"):
        load_array(tmp_path / "none.npy", "some.py")


def test_a_fold_has_its_own_folder_and_so_have_the_final_model_and_the_table_of_all():
    for fold, name in ((3, "fold-3"), ("3", "fold-3"), ("final", "final"), ("all", "all")):
        assert FoldPaths(Path("model"), "run", fold).root == Path("model/run") / name


def test_free_space_is_told_for_a_folder_that_is_not_there_yet(tmp_path: Path):
    assert free_gib(tmp_path / "not" / "yet") > 0


def test_json_files_end_with_a_line_break(tmp_path: Path):
    write_json(tmp_path / "a", {"x": [1]})
    assert (tmp_path / "a").read_text().endswith("}\n")
    assert json.loads((tmp_path / "a").read_text()) == {"x": [1]}


def image_file(tmp_path: Path) -> tuple[Path, np.ndarray]:
    path, images = tmp_path / "images.npy", np.arange(24, dtype=np.float16).reshape(4, 3, 2)
    np.save(path, images)
    return path, images


def test_an_image_file_gives_every_image_and_no_more(tmp_path):
    path, images = image_file(tmp_path)
    file = ImageFile(path, "some.py")
    assert (file.shape, file.dtype, len(file)) == ((4, 3, 2), np.float16, 4)
    for index in (2, 0, 1, 3, 3):
        np.testing.assert_array_equal(file[index], images[index])
    for index in (-1, 4):
        with pytest.raises(IndexError, match=f"image {index} of 4"):
            file[index]


def test_an_image_file_that_is_cut_before_or_while_it_is_read_is_an_input_error(tmp_path):
    path, images = image_file(tmp_path)
    file = ImageFile(path, "some.py")
    os.truncate(path, path.stat().st_size - 13)  # a memory map would kill the process
    np.testing.assert_array_equal(file[1], images[1])
    with pytest.raises(InputError, match=r"images\.npy is not a .* ends in image 3 of 4.*some\.py"):
        file[3]
    with pytest.raises(InputError, match=r"images\.npy is not a readable npy .* in place of 176"):
        ImageFile(path, "some.py")


@pytest.mark.parametrize("read", [ImageFile, load_array])
def test_a_disk_that_fails_is_an_error_with_the_name_of_the_file(tmp_path, read):
    if not Path("/proc/self/mem").exists():
        pytest.skip("there is no file that cannot be read")
    path = tmp_path / "images.npy"
    path.symlink_to("/proc/self/mem")
    with pytest.raises(OSError, match=r"Input/output error: .*images\.npy"):
        read(path, "some.py")


def test_what_is_no_npy_file_of_images_is_an_input_error(tmp_path):
    path = tmp_path / "images.npy"
    for content in (b"", b"x" * 200):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"images\.npy is not a readable npy file"):
            ImageFile(path, "some.py")
    with pytest.raises(MissingArtifact, match=r"run some\.py first"):
        ImageFile(tmp_path / "none.npy", "some.py")
