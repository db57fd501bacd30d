"""The shared folder of a submission: what is emptied, when, and what never is."""

from pathlib import Path

import pytest

from intracranial.deployment.submission import Submission, SubmissionConfig, not_to_be_emptied
from intracranial.errors import InputError

PRIOR = {"A": 0.25, "B": 0.5}


def config(shared: Path | str) -> SubmissionConfig:
    return SubmissionConfig(
        "model/run", ("0",), (), 1.0, str(shared), tuple(PRIOR), PRIOR, "a guess"
    )


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    (tmp_path / "packed" / "model" / "run").mkdir(parents=True)
    return tmp_path / "packed"


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    (tmp_path / "shared").mkdir()
    return tmp_path / "shared"


@pytest.fixture
def submission(packed: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> Submission:
    """Without networks, so that every answer is the prior."""
    config(shared).save(packed)
    monkeypatch.setattr("intracranial.deployment.submission._Networks", None)
    return Submission(packed)


@pytest.mark.parametrize(
    ("shared", "words"),
    [
        ("/", "the root"),
        ("{home}", "the home folder"),
        ("{home}/..", "the home folder"),
        ("{here}", "the current folder"),
        ("{packed}", "the packed folder"),
        ("{packed}/model", "lies in the packed folder"),
        ("{linked}", "the packed folder"),
        ("{elsewhere}", "the model"),
        ("{elsewhere}/run", "the model"),
        ("", "is not an absolute path"),
        (".", "is not an absolute path"),
        ("shared", "is not an absolute path"),
    ],
)
def test_a_folder_with_anything_of_value_is_not_emptied(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: str, words: str
):
    places = {name: tmp_path / name for name in ("home", "here", "linked", "elsewhere")}
    for name in ("home", "here"):
        places[name].mkdir()
    (tmp_path / "elsewhere" / "run").mkdir(parents=True)
    places["linked"].symlink_to(packed)
    monkeypatch.setenv("HOME", str(places["home"]))
    monkeypatch.chdir(places["here"])
    shared = shared.format(packed=packed, **places)
    run = places["elsewhere"] / "run"
    assert words in (not_to_be_emptied(shared, packed, run) or "")
    assert not_to_be_emptied(str(tmp_path / "shared"), packed, run) is None


def test_a_packed_folder_that_would_delete_itself_is_not_opened(packed: Path):
    config("/").save(packed)
    with pytest.raises(InputError, match=r"submission\.json: `shared`: / is or holds the root"):
        Submission(packed)


def test_the_shared_folder_is_emptied_after_a_series_in_it(submission, shared, tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "a.dcm").touch()
    for name in ("one", "two"):
        (shared / name).mkdir()
        (shared / name / "a.dcm").touch()
    (shared / "note.txt").touch()
    (shared / "link").symlink_to(kept)
    assert submission.predict(shared / "one").iloc[0].to_dict() == PRIOR
    assert shared.is_dir() and not any(shared.iterdir())
    assert (kept / "a.dcm").exists()


def test_a_series_that_is_a_link_in_the_shared_folder_is_in_it(submission, shared, tmp_path):
    (tmp_path / "kept").mkdir()
    (shared / "one").symlink_to(tmp_path / "kept")
    submission.predict(shared / "one")
    assert not any(shared.iterdir()) and (tmp_path / "kept").is_dir()


@pytest.mark.parametrize("series", ["{shared}", "{shared}/../kept", "{kept}", "", ".", "\0"])
def test_nothing_is_deleted_after_a_series_elsewhere(
    submission, shared, tmp_path, monkeypatch, series: str
):
    (tmp_path / "kept").mkdir()
    (shared / "note.txt").touch()
    monkeypatch.chdir(tmp_path / "kept")
    submission.predict(series.format(shared=shared, kept=tmp_path / "kept"))
    assert (shared / "note.txt").exists() and (tmp_path / "kept").is_dir()


@pytest.mark.parametrize("series", ["", ".", "./", Path()])
def test_a_path_that_names_no_folder_is_answered_with_the_prior(
    packed, shared, monkeypatch, caplog, series
):
    config(shared).save(packed)
    monkeypatch.setattr("intracranial.deployment.submission._Networks", None)
    answer = Submission(packed).predict(series)
    assert answer.iloc[0].to_dict() == PRIOR and list(answer.columns) == ["A", "B"]
    assert "names no folder of a series" in caplog.text
