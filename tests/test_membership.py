"""What a run tells of its training series: everything in `membership.json`, nothing elsewhere."""

import contextlib
import csv
import hashlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

from intracranial import membership
from intracranial.artifacts import FoldPaths, ScoredFolderPaths
from intracranial.caching.secret import key_identity, read_key
from intracranial.errors import EXIT_STALE, Busy, InputError
from intracranial.imaging.linkage import make_linkage
from intracranial.membership import Known, Part, open_overlap, read_part, trained_on, write_part
from intracranial.processes.locks import only_one
from intracranial.provenance import digest
from intracranial.splits.split_files import load_split
from intracranial.stages.slice_training import inner_split
from intracranial.tasks import SERIES_COLUMN
from tests.schema import assert_documented
from tests.tiny_data import SECRET_ID, patient_of, uid_of
from tests.tiny_runs import Place, edit, read

OTHER_KEY = "c4" * 32 + "\n"
EVALUATIONS = ("stage1", "stage2", "end_to_end")
PART = Part("k", Known(("1.1", "1.2"), ("pixels:p",)), Known((), ()), {"1.3": ("study:s",)})


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def trained(place: Place) -> list[str]:
    """Series outside of fold 0."""
    return [row[SERIES_COLUMN] for row in rows(place.data.folds_csv(3)) if row["fold"] != "0"]


def unkeyed_hashes(*parts: str) -> Iterator[str]:
    """Hashes that somebody without the key would try, without and with what is beside a value."""
    for text in (*parts, *(f"{part}\x1f" for part in parts)):
        for method in (hashlib.sha256, hashlib.sha1, hashlib.md5):
            yield method(text.encode()).hexdigest()
    for part in parts:
        linkage = make_linkage(part, "", part)
        for key in linkage.keys():  # as keys have been hashed before there was a secret
            yield digest(key)
            yield hashlib.sha256(key.encode()).hexdigest()[:16]


def test_no_other_file_of_a_run_names_a_series_or_a_patient_of_the_training(tiny: Place):
    uids = trained(tiny)
    meta = {row[SERIES_COLUMN]: row for row in rows(tiny.data.train_meta_csv)}
    studies = [
        str(pydicom.dcmread(next((tiny.data.series / uid).iterdir())).StudyInstanceUID)
        for uid in uids
    ]
    patients = [patient_of(int(uid.rsplit(".", 1)[1]) - 1) for uid in uids]
    words = [re.escape(uid) + r"(?!\d)" for uid in (*uids, *studies, *patients)]
    words += [text[:16] for one in (*patients, *studies) for text in unkeyed_hashes(one)]
    words += [meta[uid]["group"] for uid in uids]
    known = read(tiny.fold().membership)
    words += [re.escape(key) for key in known["stage1"]["training"]["keys"]]
    tell = re.compile("|".join(words).encode())
    looked_at = []
    for path in sorted((tiny.model_dir / "tiny").rglob("*")):
        if path.is_dir() or path.parent.name == "features":
            continue
        if path.name.endswith("_predictions.csv"):  # of held-out series
            assert not any(row[SERIES_COLUMN] in uids for row in rows(path))
        if path != tiny.fold().membership:
            found = tell.search(path.read_bytes())
            assert found is None, f"{path} holds {found[0]!r}"
            looked_at.append(path.name)
    assert {"stage1.json", "stage2.json", "features.json", "report.html"} <= set(looked_at)
    assert any(name.endswith("_train_stage1.log") for name in looked_at)
    assert tell.search(tiny.fold().membership.read_bytes())
    for stage in ("stage1", "stage2"):
        assert known[stage]["training"]["series"] == uids


def test_without_the_key_nobody_finds_a_patient_by_trying_all_of_them(tiny: Place):
    content = tiny.fold().membership.read_text()
    candidates = [f"{SECRET_ID}-{number}" for number in range(100)]
    tried = {patient: set(unkeyed_hashes(patient)) for patient in candidates}
    assert not [p for p, hashes in tried.items() if any(one[:12] in content for one in hashes)]
    key = read_key(tiny.data)
    assert key is not None
    found = [p for p in candidates if make_linkage(p, "", "").keyed(key).keys()[0] in content]
    assert set(found) == {patient_of(number) for number in range(26)}  # trained on, or held out


def test_the_key_is_in_no_other_file(tiny: Place):
    text = tiny.data.secret_key.read_text().strip()
    assert len(text) == 64
    for path in tiny.root.rglob("*"):
        if path.is_file() and path != tiny.data.secret_key:
            content = path.read_bytes()
            assert text.encode() not in content and bytes.fromhex(text) not in content, path


@pytest.fixture(scope="module")
def elsewhere(tiny: Place, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The same data and the same run on a machine with another key."""
    place = tiny.copy(tmp_path_factory.mktemp("elsewhere") / "copy")
    place.data.secret_key.write_text(OTHER_KEY)
    said = place.call("preprocess_data")
    assert said.code == EXIT_STALE and str(place.data.secret_key) in said.text
    for stage in ("preprocess_data", "create_folds"):
        assert place.call(stage, "--overwrite").code == 0
    return place


def test_no_key_changes_folds_spots_and_draws(tiny: Place, elsewhere: Place):
    def table(path: Path) -> list[dict[str, str]]:
        return [{name: row[name] for name in row if name != "group"} for row in rows(path)]

    for name in ("train_meta_csv", "slices_csv"):
        assert table(getattr(tiny.data, name)) == table(getattr(elsewhere.data, name))
    for name in ("folds_csv", "spots_csv"):
        mine, other = (getattr(place.data, name)(3) for place in (tiny, elsewhere))
        assert table(mine) == table(other)
        groups = [[row["group"] for row in rows(path)] for path in (mine, other)]
        assert not set(groups[0]) & set(groups[1])
        assert [groups[0].index(one) for one in groups[0]] == [
            groups[1].index(one) for one in groups[1]
        ]
    mine, other = (load_split(place.data, 3) for place in (tiny, elsewhere))
    assert (mine.identity, mine.split_hash) == (other.identity, other.split_hash)
    for seed in range(4):  # the fifth takes no group
        assert inner_split(mine, mine.training(0), seed) == inner_split(
            other, other.training(0), seed
        )


def test_no_key_changes_scores_and_a_run_of_another_machine_is_not_stale(
    tiny: Place, elsewhere: Place
):
    for stage in EVALUATIONS:
        said = elsewhere.call(f"eval_{stage}", "--overwrite")
        assert said.code == 0, said.text
        mine, other = (read(place.fold().metrics(stage)) for place in (tiny, elsewhere))
        assert mine == other
        tables = [rows(place.fold().predictions(stage)) for place in (tiny, elsewhere)]
        assert all(a["group"] != b["group"] for a, b in zip(*tables, strict=True))
        for row in (*tables[0], *tables[1]):
            del row["group"]
        assert tables[0] == tables[1]


@pytest.fixture
def visitors(others: Path, tmp_path: Path) -> Path:
    """A series that nobody has seen, one of a patient of the training, and a renamed copy."""
    folder = tmp_path / "series"
    for number, name in ((100, "2.25.1"), (101, "2.25.2")):
        shutil.copytree(others / "series" / uid_of(number), folder / name)
    return folder


def belongs_to(folder: Path, patient: str) -> None:
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.PatientID = patient
        dataset.save_as(path)


def test_patients_are_recognised_with_the_key_and_pixels_everywhere(
    tiny: Place, visitors: Path, tmp_path: Path
):
    uid = trained(tiny)[0]
    belongs_to(visitors / "2.25.2", patient_of(int(uid.rsplit(".", 1)[1]) - 1))
    shutil.copytree(tiny.data.series / uid, visitors / "2.25.3")
    belongs_to(visitors / "2.25.3", "somebody else")
    for path in (visitors / "2.25.3").iterdir():
        dataset = pydicom.dcmread(path)
        dataset.SeriesInstanceUID, dataset.StudyInstanceUID = "2.25.3", "2.25.4"
        dataset.save_as(path)
    flags = ("--series_dir", str(visitors), "--no_report")
    said = tiny.call("eval_end_to_end", *flags, "--out_dir", str(tmp_path / "here"))
    assert said.code == 0, said.text
    assert "2 of 3 scored series were in training" in said.text and "secret.key" not in said.text
    seen = read(ScoredFolderPaths(tmp_path / "here").metrics)["seen_in_training"]
    assert sorted(seen) == sorted([uid_of(101), "2.25.3"])

    there = Place(tmp_path / "there")
    shutil.copytree(tiny.model_dir, there.model_dir)
    for name, key in (("without", None), ("other", OTHER_KEY)):
        if key:
            there.data.root.mkdir()
            there.data.secret_key.write_text(key)
        out = ScoredFolderPaths(tmp_path / name)
        said = there.call("eval_end_to_end", *flags, "--out_dir", str(out.root))
        assert said.code == 0, said.text
        assert "1 of 3 scored series were in training" in said.text
        assert said.text.count("recognised by their UIDs and pixels alone") == 1
        assert read(out.metrics)["seen_in_training"] == ["2.25.3"]


def test_a_run_without_membership_scores_and_says_once_that_it_cannot_tell(
    tiny: Place, visitors: Path, tmp_path: Path
):
    place = Place(tmp_path / "given")
    shutil.copytree(tiny.model_dir, place.model_dir)
    place.fold().membership.unlink()
    out = ScoredFolderPaths(tmp_path / "out")
    flags = ("--series_dir", str(visitors), "--out_dir", str(out.root))
    said = place.call("eval_end_to_end", *flags)
    assert said.code == 0, said.text
    assert said.text.count("nobody can tell whether these series were in training") == 1
    metrics = read(out.metrics)
    assert metrics["seen_in_training"] is None
    assert_documented(metrics, "unlabelled_metrics")
    assert "does not tell whether scored series" in out.report.read_text(encoding="utf-8")
    shutil.copyfile(tiny.fold().membership, place.fold().membership)
    said = place.call("eval_end_to_end", *flags)
    assert said.code == EXIT_STALE and "input membership: absent -> " in said.text


def test_without_membership_the_training_rows_are_those_of_the_split(tiny_copy: Place):
    before = {stage: read(tiny_copy.fold().metrics(stage)) for stage in EVALUATIONS}
    assert before["stage1"]["training"] and before["stage2"]["training"]
    tiny_copy.fold().membership.unlink()
    for stage in EVALUATIONS:
        said = tiny_copy.call(f"eval_{stage}", "--overwrite")
        assert said.code == 0 and "membership.json" not in said.text, said.text
        assert read(tiny_copy.fold().metrics(stage)) == before[stage]
    for stage in ("stage1", "stage2"):
        path = tiny_copy.fold().manifest(stage)
        edit(path, trained_on={"series": 18, "digest": "0" * 16})
        said = tiny_copy.call(f"eval_{stage}", "--overwrite")
        assert said.code == 0, said.text
        assert "there are no figures of the training series" in said.text
        metrics = read(tiny_copy.fold().metrics(stage))
        assert metrics["training"] is None and metrics["gap"] is None
        assert_documented(metrics, "stage_metrics")
        assert metrics["per_label"] == before[stage]["per_label"]


def test_limits_and_the_inner_tenth_are_found_again_without_membership(tiny: Place, tmp_path: Path):
    place = tiny.copy(tmp_path / "copy", "model")
    inner = ("--select", "inner", "--limit", "16", "--seed", "3", "--max_steps", "1")
    assert place.call("train_stage1", *inner).code == 0
    known = read(place.fold().membership)["stage1"]
    assert known["selecting"]["series"] and len(known["training"]["series"]) < 16
    assert not set(known["selecting"]["series"]) & set(known["training"]["series"])
    assert place.call("eval_stage1", "--resamples", "0").code == 0
    before = read(place.fold().metrics("stage1"))
    assert before["training"]["score"]
    place.fold().membership.unlink()
    said = place.call("eval_stage1", "--resamples", "0", "--overwrite")
    assert said.code == 0 and "no figures" not in said.text
    assert read(place.fold().metrics("stage1")) == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "membership.json is not valid JSON"),
        ("{}", "membership.json lacks 'stage1'"),
        ('{"stage1": {"key": 1}}', "`stage1` lacks 'training'"),
        ("stage2", "membership.json: `stage1` is not of the weights beside it"),
    ],
)
def test_a_damaged_membership_is_named_with_what_to_do(tiny_copy: Place, content: str, words: str):
    path = tiny_copy.fold().membership
    if content == "stage2":
        known = read(path)["stage1"]
        known["training"]["series"].pop()
        edit(path, stage1=known)
    else:
        path.write_text(content)
    for stage in ("eval_stage1", "eval_end_to_end"):
        said = tiny_copy.call(stage, "--overwrite")
        assert said.code == 3 and words in said.text, said.text
        assert "train_stage1.py" in said.text and "Traceback" not in said.text


@pytest.fixture
def fold(tmp_path: Path) -> FoldPaths:
    return FoldPaths(tmp_path, "run", 0)


TRAINED = trained_on(("1.1", "1.2"))


def test_each_stage_keeps_the_part_of_the_other(fold: FoldPaths):
    assert read_part(fold, "stage1", TRAINED) is None
    write_part(fold, "stage1", PART)
    write_part(fold, "stage2", replace(PART, key="other"))
    write_part(fold, "stage1", PART)
    assert read_part(fold, "stage1", TRAINED) == PART
    assert read_part(fold, "stage2", TRAINED) == replace(PART, key="other")
    with pytest.raises(InputError, match="is not of the weights beside it"):
        read_part(fold, "stage1", trained_on(("1.1",)))
    assert [path.name for path in fold.root.iterdir()] == ["membership.json"]


def test_a_damaged_file_does_not_end_a_training(fold: FoldPaths, caplog: pytest.LogCaptureFixture):
    write_part(fold, "stage1", PART)
    fold.membership.write_text("{")
    write_part(fold, "stage2", PART)
    assert "is not valid JSON" in caplog.text and "with the part of stage2 alone" in caplog.text
    assert list(read(fold.membership)) == ["stage2"]


def test_a_stage_waits_until_the_other_has_written(
    fold: FoldPaths, monkeypatch: pytest.MonkeyPatch
):
    tries = []

    @contextlib.contextmanager
    def held_at_first(path: Path, what: str) -> Iterator[None]:
        tries.append(path)
        if len(tries) < 3:
            raise Busy("held")
        with only_one(path, what):
            yield

    monkeypatch.setattr(membership, "only_one", held_at_first)
    write_part(fold, "stage1", PART)
    assert len(tries) == 3 and read_part(fold, "stage1", TRAINED) == PART
    monkeypatch.setattr(membership, "LOCK_SECONDS", -1.0)
    tries.clear()
    with pytest.raises(Busy):
        write_part(fold, "stage1", PART)


def test_hashes_are_compared_under_their_own_key_alone(fold: FoldPaths):
    key = bytes(range(32))
    assert open_overlap(fold, {"stage1": TRAINED}, key) is None
    write_part(fold, "stage1", replace(PART, key=key_identity(key)))
    for given, expected in ((key, key), (bytes(32), None), (None, None)):
        found = open_overlap(fold, {"stage1": TRAINED}, given)
        assert found is not None and found.key == expected
        assert key.hex() not in repr(found) and repr(key) not in repr(found)
