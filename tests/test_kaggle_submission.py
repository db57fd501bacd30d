"""The packed folder, unpacked elsewhere, answers a stand-in of the challenge's gateway."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from intracranial.errors import EXIT_INPUT, EXIT_STALE, EXIT_USAGE, InputError
from intracranial.inference.run import Predictor
from intracranial.lineage import open_stage2
from intracranial.tasks import RSNA_2025
from tests.challenge import LABELS
from tests.tiny_data import uid_of
from tests.tiny_runs import ONE_THREAD, Place, edit, read, run_tool
from tests.untrained_runs import write_untrained_run
from tools.kaggle_submission import frequencies, prior_of_file, written_whole

GATEWAY = """
import json, shutil, sys
from pathlib import Path

upload, shared = map(Path, sys.argv[1:3])
sys.path.insert(0, str(upload))
from kaggle_submission import predict

for series in map(Path, sys.argv[3:]):
    given = shared / series.name  # the gateway shares the files of one series at a time
    if series.exists():
        shutil.copytree(series, given)
    row = predict(str(given))
    print(json.dumps({"columns": list(row.columns), "rows": row.to_numpy().tolist(),
                      "left": any(shared.iterdir())}))
import intracranial
assert "torch" not in sys.modules and intracranial.__file__.startswith(str(upload))
"""
"""Calls predict on folders, as the gateway does, and writes what it got."""


def pack(tiny: Place, out: Path, *flags: object):
    model = ["--model", tiny.model_dir / "tiny", "--out_dir", out]
    return run_tool("kaggle_submission", *model, *flags)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kaggle") / "shared"


@pytest.fixture(scope="module")
def upload(tiny: Place, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packed, archived, and unpacked in another folder."""
    folder = tmp_path_factory.mktemp("packed")
    said = pack(tiny, folder / "upload", "--shared_dir", shared)
    assert said.code == 0, said.text
    archive = shutil.make_archive(str(folder / "upload"), "zip", folder / "upload")
    unpacked = tmp_path_factory.mktemp("elsewhere") / "input"
    shutil.unpack_archive(archive, unpacked)
    return unpacked


def served(upload: Path, shared: Path, *series: Path) -> list[dict]:
    """What the gateway gets, run outside of the checkout and without it on the path."""
    gateway = upload.parent / "gateway.py"
    gateway.write_text(GATEWAY)
    shared.mkdir(exist_ok=True)
    environment = {**os.environ, **ONE_THREAD}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [sys.executable, str(gateway), str(upload), str(shared), *map(str, series)],
        cwd=upload.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def copy(upload: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(upload, tmp_path / "input"))


def configure(upload: Path, **changes: object) -> dict:
    path = upload / "submission.json"
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps(content))
    return content


def mean_of(path: Path) -> list[float]:
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [sum(float(row[label]) for row in rows) / len(rows) for label in LABELS]


def test_every_series_gets_one_row_and_a_bad_one_the_out_of_fold_prior(
    upload: Path, shared: Path, tiny: Place, others: Path, tmp_path: Path
):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.dcm").write_bytes(b"no image")
    sound = [others / "series" / uid_of(number) for number in (100, 101)]
    answers = served(upload, shared, sound[0], tmp_path / "broken", tmp_path / "gone", sound[1])
    assert len(answers) == 4
    for answer in answers:
        assert answer["columns"] == list(LABELS)
        assert len(answer["rows"]) == 1 and all(0 <= value <= 1 for value in answer["rows"][0])
        assert not answer["left"]
    prior = mean_of(tiny.fold().predictions("end_to_end"))
    assert answers[1]["rows"][0] == answers[2]["rows"][0] == pytest.approx(prior, abs=1e-9)
    predictor = Predictor(tiny.model_dir / "tiny")
    for answer, series in ((answers[0], sound[0]), (answers[3], sound[1])):
        expected = predictor.predict(series).probabilities.tolist()
        assert answer["rows"][0] == pytest.approx(expected, abs=1e-3)
        assert answer["rows"][0] != pytest.approx(prior, abs=1e-6)


@pytest.mark.slow
def test_a_series_over_its_budget_gets_the_prior(copy: Path, shared: Path, others: Path):
    prior = configure(copy, seconds=1e-3)["prior"]
    (answer,) = served(copy, shared, others / "series" / uid_of(100))
    assert answer["rows"][0] == [prior[label] for label in LABELS]


@pytest.mark.slow
def test_without_weights_every_series_gets_the_prior(copy: Path, shared: Path, others: Path):
    next(copy.rglob("stage2.safetensors")).unlink()
    prior = configure(copy)["prior"]
    answers = served(copy, shared, *[others / "series" / uid_of(100)] * 2)
    assert all(answer["rows"][0] == [prior[label] for label in LABELS] for answer in answers)


@pytest.mark.slow
def test_a_series_that_kills_its_process_costs_itself_alone(
    copy: Path, shared: Path, others: Path, tmp_path: Path
):
    worker = copy / "intracranial" / "inference" / "submission_worker.py"
    code = worker.read_text()
    worker.write_text(
        code.replace(
            "        found = predictor.predict(series)",
            '        if series.endswith("deadly"):\n            os._exit(9)\n'
            "        found = predictor.predict(series)",
        )
    )
    assert worker.read_text() != code
    sound = others / "series" / uid_of(100)
    answers = served(copy, shared, sound, tmp_path / "deadly", sound)
    assert answers[0] == answers[2] != answers[1]
    prior = configure(copy)["prior"]
    assert answers[1]["rows"][0] == [prior[label] for label in LABELS]


def test_the_folder_holds_code_weights_wheels_and_nothing_of_the_training(upload: Path):
    names = {path.relative_to(upload).as_posix() for path in upload.rglob("*") if path.is_file()}
    weights = {name for name in names if name.startswith("model/")}
    stages = ("stage1.json", "stage1.safetensors", "stage2.json", "stage2.safetensors")
    assert weights == {f"model/tiny/fold-0/{name}" for name in stages}
    assert "intracranial/report/report.html.jinja" in names
    lines = (upload / "wheels.txt").read_text().splitlines()
    assert any(line.startswith("pydicom==3") for line in lines)
    assert all(line.startswith("#") or "==" in line for line in lines)


def test_what_cannot_be_packed_is_refused(tiny: Place, tmp_path: Path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").touch()
    said = pack(tiny, tmp_path / "full")
    assert said.code == EXIT_INPUT and "is not empty" in said.text
    assert pack(tiny, tmp_path / "new", "--seconds", "0").code == EXIT_USAGE
    said = pack(tiny, tmp_path / "new", "--shared_dir", "/")
    assert said.code == EXIT_USAGE and "--shared_dir: / is or holds the root" in said.text
    said = pack(tiny, tmp_path / "new", "--fold", "9")
    assert said.code == EXIT_USAGE and "fold 9: " in said.text
    said = pack(tiny, tmp_path / "full" / "note.txt")
    assert said.code == EXIT_INPUT and "note.txt" in said.text and "Traceback" not in said.text


def test_a_model_that_could_not_be_served_is_refused_and_nothing_is_written(
    tiny: Place, tmp_path: Path
):
    out = tmp_path / "upload"
    for number, (name, change, words) in enumerate(
        (
            ("stage1.json", lambda path: edit(path, identity="0123456789abcdef"), "is stale"),
            ("stage2.safetensors", Path.unlink, "stage2.safetensors is missing"),
        )
    ):
        copy = tiny.copy(tmp_path / f"copy{number}", "data")
        change(copy.fold().root / name)
        said = pack(copy, out)
        assert said.code in (EXIT_INPUT, EXIT_STALE) and words in said.text
        assert "Traceback" not in said.text and not out.exists()


@pytest.mark.parametrize("there", [True, False])
def test_an_error_while_packing_leaves_the_folder_as_it_was(tmp_path: Path, there: bool):
    out = tmp_path / "upload"
    if there:
        out.mkdir()
    with pytest.raises(KeyboardInterrupt), written_whole(out):
        (out / "model").mkdir()
        (out / "wheels.txt").touch()
        raise KeyboardInterrupt
    assert out.exists() == there and not (there and any(out.iterdir()))


def test_a_run_without_held_out_predictions_has_no_prior(tiny: Place, tmp_path: Path):
    copy = tiny.copy(tmp_path / "copy", "*_predictions.csv", "data")
    said = pack(copy, tmp_path / "upload")
    assert said.code == EXIT_INPUT and "eval_end_to_end.py" in said.text


def test_the_folder_says_what_its_prior_is(upload: Path):
    config = read(upload / "submission.json")
    assert config["prior_from"] == "mean of the held-out predictions of 8 series"
    assert config["labels"] == list(LABELS)


@pytest.fixture
def final(tiny: Place, tmp_path: Path) -> Place:
    """A run of which only the model of all series is trained; here it is that of fold 0."""
    copy = tiny.copy(tmp_path / "copy", "*_predictions.csv", "data")
    copy.fold().root.rename(copy.fold("final").root)
    return copy


def test_the_prior_of_a_final_model_is_how_frequent_labels_were_in_training(
    final: Place, tiny: Place, tmp_path: Path
):
    said = pack(final, tmp_path / "upload")
    assert said.code == 0, said.text
    config = read(tmp_path / "upload" / "submission.json")
    trained = read(final.fold("final").membership)["stage2"]["training"]["series"]
    with open(tiny.data.train_csv, encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["SeriesInstanceUID"] in trained]
    expected = {label: sum(int(row[label]) for row in rows) / len(rows) for label in LABELS}
    assert len(rows) == 18 and 0 < expected["Aneurysm Present"] < 1
    assert config["prior"] == pytest.approx(expected)
    assert config["prior_from"] == "label frequencies of the 18 training series"
    assert config["prior_from"] in said.text and config["folds"] == ["final"]


def test_a_final_model_of_before_takes_a_prior_from_a_file(final: Place, tmp_path: Path):
    manifest = final.fold("final").manifest("stage2")
    content = read(manifest)
    del content["training_labels"]
    manifest.write_text(json.dumps(content))
    said = pack(final, tmp_path / "upload")
    words = "give --prior FILE, a JSON file with a probability for each label"
    assert said.code == EXIT_INPUT and words in said.text and "Traceback" not in said.text
    given = tmp_path / "mine.json"
    prior = {label: number / 20 for number, label in enumerate(LABELS)}
    given.write_text(json.dumps(prior))
    said = pack(final, tmp_path / "upload", "--prior", given)
    assert said.code == 0, said.text
    config = read(tmp_path / "upload" / "submission.json")
    assert config["prior"] == prior and config["prior_from"] == "mine.json"


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", "3", "other", "nan", "1.5", "null", '"0.5"', "more"]
)
def test_a_prior_that_is_none_is_refused(tmp_path: Path, text: str):
    labels = ("A", "B")
    texts = {
        "other": '{"A": 0.5, "C": 0.5}',
        "more": '{"A": 0.5, "B": 0.5, "C": 0.5}',
        **{value: f'{{"A": 0.5, "B": {value}}}' for value in ("1.5", "null", '"0.5"')},
        "nan": '{"A": 0.5, "B": NaN}',
    }
    path = tmp_path / "prior.json"
    path.write_text(texts.get(text, text))
    with pytest.raises(InputError, match=r"prior\.json: give a JSON object.*labels A, B"):
        prior_of_file(path, labels)
    path.write_text('{"A": 0, "B": 1}')
    assert prior_of_file(path, labels) == {"A": 0.0, "B": 1.0}


@pytest.mark.parametrize("counts", [{}, {"series": 0, "positives": {}}, {"series": 3}, 5])
def test_damaged_counts_of_labels_are_named(counts: object, tmp_path: Path):
    paths = write_untrained_run(tmp_path / "model" / "run", RSNA_2025)

    def shares(counts: object) -> dict[str, float]:
        edit(paths.manifest("stage2"), training_labels=counts)
        return frequencies(open_stage2(paths, {}), ("A",))[0]

    with pytest.raises(InputError, match=r"stage2\.json: `training_labels`.*train_stage2\.py"):
        shares(counts)
    for positives in ({}, {"A": 4}):
        with pytest.raises(InputError, match="are no counts of the labels"):
            shares({"series": 3, "positives": positives})
    assert shares({"series": 4, "positives": {"A": 1}}) == {"A": 0.25}
