"""Manifests: identities, differences, and what a rerun does."""

from pathlib import Path

import pytest

from intracranial.errors import InputError, MissingArtifact, StaleArtifact
from intracranial.provenance import (
    Plan,
    Request,
    check_manifest,
    decide,
    differences,
    digest,
    file_digest,
    manifest_of,
    plan,
    read_manifest,
    require_made_from,
    versions,
    write_manifest,
)

REQUEST = Request("stage1", {"lr": 0.1, "steps": [1, 2]}, {"folds": "aa", "preprocess": "bb"})


def other(**changes: object) -> Request:
    return Request("stage1", {**REQUEST.config, **changes}, REQUEST.inputs)


def test_an_identity_follows_options_and_inputs_and_not_their_order():
    swapped = Request("stage1", {"steps": [1, 2], "lr": 0.1}, {"preprocess": "bb", "folds": "aa"})
    assert swapped.identity == REQUEST.identity
    assert other(lr=0.2).identity != REQUEST.identity
    assert Request("stage2", REQUEST.config, REQUEST.inputs).identity != REQUEST.identity
    assert Request("stage1", REQUEST.config, {"folds": "ab"}).identity != REQUEST.identity
    # What was limited is part of the options already; the words about it are not.
    limited = Request("stage1", REQUEST.config, REQUEST.inputs, partial="--limit 3")
    assert limited.identity == REQUEST.identity


def test_versions_are_recorded_and_no_part_of_identity():
    manifest = manifest_of(REQUEST, complete=True)
    assert manifest["versions"] == versions()
    assert {"python", "torch", "timm", "numpy", "pydicom"} <= set(manifest["versions"])
    assert digest(manifest["versions"]) not in manifest["identity"]


def test_differences_show_every_option_and_input_with_its_old_and_new_value():
    old = manifest_of(REQUEST, complete=True)
    request = Request("stage1", {"lr": 0.2, "ema": 1}, {"folds": "zz", "preprocess": "bb"})
    assert differences(old, request) == [
        "  option ema: absent -> 1",
        "  option lr: 0.1 -> 0.2",
        "  option steps: [1, 2] -> absent",
        "  input folds: aa -> zz",
    ]


def test_a_manifest_that_differs_in_nothing_shown_differs_in_its_format():
    assert differences(manifest_of(REQUEST, complete=True), REQUEST) == ["  format of the manifest"]


def test_a_rerun_begins_goes_on_or_has_nothing_to_do(tmp_path: Path):
    path = tmp_path / "stage1.json"
    assert decide(path, None, REQUEST, False) is Plan.FRESH
    assert decide(path, manifest_of(REQUEST, complete=False), REQUEST, False) is Plan.RESUME
    assert decide(path, manifest_of(REQUEST, complete=True), REQUEST, False) is Plan.DONE
    assert decide(path, manifest_of(REQUEST, complete=True), REQUEST, True) is Plan.FRESH


def test_a_changed_request_is_refused_with_the_difference_and_two_ways_out(tmp_path: Path):
    path = tmp_path / "stage1.json"
    write_manifest(path, REQUEST, complete=True)
    with pytest.raises(StaleArtifact) as refused:
        plan(path, other(lr=0.2), overwrite=False)
    text = str(refused.value)
    assert str(path) in text and "option lr: 0.1 -> 0.2" in text
    assert "train_stage1.py --overwrite" in text and "another --run" in text
    assert refused.value.exit_code == 5
    assert plan(path, other(lr=0.2), overwrite=True) is Plan.FRESH


def test_a_finished_stage_whose_output_was_deleted_goes_on(tmp_path: Path):
    path, weights = tmp_path / "stage1.json", tmp_path / "stage1.safetensors"
    write_manifest(path, REQUEST, complete=True)
    assert plan(path, REQUEST, False, outputs=[weights]) is Plan.RESUME
    weights.touch()
    assert plan(path, REQUEST, False, outputs=[weights]) is Plan.DONE


def test_a_run_that_ended_before_it_made_anything_is_never_stale(tmp_path: Path):
    path, weights, state = (tmp_path / name for name in ("stage1.json", "weights", "state"))
    write_manifest(path, REQUEST, complete=False)
    assert plan(path, other(lr=0.2), False, [weights], [state]) is Plan.FRESH
    state.touch()
    with pytest.raises(StaleArtifact):
        plan(path, other(lr=0.2), False, [weights], [state])


def test_a_manifest_is_read_only_when_it_is_finished_and_of_its_kind(tmp_path: Path):
    path = tmp_path / "stage1.json"
    with pytest.raises(MissingArtifact, match=r"stage1\.json is missing: run train_stage1\.py"):
        read_manifest(path, "stage1")
    write_manifest(path, REQUEST, complete=False)
    with pytest.raises(InputError, match=r"run train_stage1\.py again, it resumes"):
        read_manifest(path, "stage1")
    write_manifest(path, REQUEST, complete=True, content={"task": "x"})
    assert read_manifest(path, "stage1")["task"] == "x"
    with pytest.raises(InputError, match="is not a stage2 manifest"):
        read_manifest(path, "stage2")
    with pytest.raises(InputError, match="is not a stage1 manifest"):
        check_manifest(path, {**read_manifest(path, "stage1"), "format": 0}, "stage1")


def test_content_cannot_replace_what_a_manifest_says_of_itself():
    manifest = manifest_of(REQUEST, complete=False, content={"complete": True, "identity": "x"})
    assert manifest["complete"] is False and manifest["identity"] == REQUEST.identity


def test_a_rebuilt_input_makes_an_artifact_stale_and_names_both_identities(tmp_path: Path):
    manifest = manifest_of(REQUEST, complete=True)
    path = tmp_path / "stage1.json"
    require_made_from(path, manifest, {"folds": "aa", "something else": "never recorded"})
    with pytest.raises(StaleArtifact) as refused:
        require_made_from(path, manifest, {"folds": "cc"})
    text = str(refused.value)
    assert "made from folds aa, but folds is now cc" in text
    assert "Rerun train_stage1.py with --overwrite" in text


def test_a_manifest_holds_no_time(tmp_path: Path):
    one, two = tmp_path / "1.json", tmp_path / "2.json"
    write_manifest(one, REQUEST, complete=True)
    write_manifest(two, REQUEST, complete=True)
    assert one.read_bytes() == two.read_bytes()


def test_a_missing_file_is_said_with_its_hint(tmp_path: Path):
    with pytest.raises(MissingArtifact, match=r"none\.csv is missing\. Put it there\."):
        file_digest(tmp_path / "none.csv", "Put it there.")
