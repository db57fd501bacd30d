"""The secret key of a data folder: made once, kept, and missed when it is gone."""

import os
import stat
from pathlib import Path

import pytest

from intracranial.artifacts import DataPaths
from intracranial.caching.secret import key_identity, make_key, read_key, require_key
from intracranial.errors import EXIT_INPUT, EXIT_STALE, InputError, MissingArtifact
from tests.stages.preprocessed import make_data, rows, run


@pytest.fixture
def data(tmp_path: Path) -> DataPaths:
    return DataPaths(tmp_path)


def test_a_key_is_made_once_for_its_owner_alone_and_is_another_in_every_folder(data: DataPaths):
    assert read_key(data) is None
    key = make_key(data)
    content = data.secret_key.read_bytes()
    assert len(key) == 32 and make_key(data) == read_key(data) == key
    assert data.secret_key.read_bytes() == content
    assert stat.S_IMODE(data.secret_key.stat().st_mode) == 0o600
    assert os.listdir(data.root) == ["secret.key"]
    (data.root / "other").mkdir()
    assert make_key(DataPaths(data.root / "other")) != key


def test_makers_at_the_same_time_agree(data: DataPaths, monkeypatch: pytest.MonkeyPatch):
    """Here another one is always first: between the look for a key and the making of one."""
    link = os.link

    def late(source: Path, target: Path) -> None:
        Path(target).write_text("ab" * 32)
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    assert make_key(data) == b"\xab" * 32
    assert os.listdir(data.root) == ["secret.key"]


def test_a_folder_without_hard_links_has_a_key_too(
    data: DataPaths, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert make_key(data) == read_key(data)
    assert os.listdir(data.root) == ["secret.key"]


@pytest.mark.parametrize("content", ["", "ab" * 31, "ab" * 33, "zz" * 32, "AB" * 32])
def test_a_damaged_key_is_an_error_that_says_what_to_do(data: DataPaths, content: str):
    data.secret_key.write_text(content)
    for ask in (read_key, make_key):
        with pytest.raises(InputError, match=r"secret\.key is damaged .*--overwrite"):
            ask(data)
    assert data.secret_key.read_text() == content


def test_the_key_of_other_caches_and_no_key_are_refused(data: DataPaths):
    with pytest.raises(MissingArtifact, match=r"secret\.key is missing: put it back.*--overwrite"):
        require_key(data, "0" * 16)
    key = make_key(data)
    assert require_key(data, key_identity(key)) == key
    with pytest.raises(InputError, match=r"is not the key of the caches .*put that one back"):
        require_key(data, "0" * 16)
    assert key_identity(key) not in data.secret_key.read_text()


@pytest.mark.parametrize("lost", ["missing", "other", "damaged"])
def test_caches_whose_key_is_lost_are_refused_until_it_is_back_or_they_are_made_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lost: str
):
    make_data(tmp_path, count=2)
    path = DataPaths(tmp_path).secret_key
    assert run(tmp_path) == 0
    content, groups = path.read_text(), rows(tmp_path / "train_meta.csv")[0]["group"]
    path.unlink()
    if lost != "missing":
        path.write_text("cd" * (32 if lost == "other" else 20))
    capsys.readouterr()
    assert run(tmp_path) == (EXIT_INPUT if lost == "damaged" else EXIT_STALE)
    said = capsys.readouterr().out
    assert str(path) in said and "--overwrite" in said
    assert path.exists() == (lost != "missing")
    path.write_text(content)
    assert run(tmp_path) == 0
    assert "nothing to do" in capsys.readouterr().out
    path.unlink()
    assert run(tmp_path, "--overwrite") == 0
    assert path.read_text() != content
    assert rows(tmp_path / "train_meta.csv")[0]["group"] != groups
