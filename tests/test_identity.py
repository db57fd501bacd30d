"""Options that are added later: what was finished stays finished, a change of them is a change."""

import dataclasses
from typing import Annotated

import pytest

from intracranial.config import STAGES, parse_options
from intracranial.errors import EXIT_DONE, EXIT_STALE
from intracranial.marks import Before, Setting
from intracranial.options.common import DataOptions, before
from intracranial.provenance import digest
from tests import tiny_runs
from tests.tiny_runs import Place


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    zoom: float = 0.5
    places: Setting[int] = 1
    blur: Annotated[float, Before(0.0)] = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(DataOptions):
    lr: float = 0.1
    group: Group = Group()
    workers: Setting[int] = 2
    sharpness: Annotated[float, Before(0.0)] = 0.0
    sizes: Annotated[tuple[int, ...], Before([1])] = (1,)


def test_settings_are_no_part_of_an_identity():
    moved = Options(workers=8, overwrite=True, group=Group(places=3))
    assert Options().identity() == moved.identity() == {"lr": 0.1, "zoom": 0.5}


def test_an_option_at_what_its_absence_meant_is_no_part_of_it():
    assert Options(sizes=(1, 2)).identity() == {"lr": 0.1, "zoom": 0.5, "sizes": [1, 2]}
    assert Options(group=Group(blur=2.0)).identity() == {"lr": 0.1, "zoom": 0.5, "blur": 2.0}
    assert before(Options) == {"sharpness": 0.0, "sizes": [1], "blur": 0.0}
    assert Options(sharpness=1.0).request("stage1", {}).identity != (
        Options().request("stage1", {}).identity
    )


DEFAULTS = {
    "preprocess_data": "da85f03780294e22",
    "create_folds": "835be4b0b31a6c9d",
    "train_stage1": "7f1c69f282c3211b",
    "eval_stage1": "f3a35b14d24250c2",
    "extract_features": "1d07e9fe4e67e7bc",
    "train_stage2": "a980fbb40fb64fcb",
    "eval_stage2": "cab566b63f7b1f14",
    "eval_end_to_end": "66cd2d560999bb16",
}
"""Digest of the identity that a stage's defaults have: where it changes,
whatever was finished with them becomes stale."""


@pytest.mark.parametrize("stage", STAGES)
def test_the_defaults_of_a_stage_keep_their_identity(stage: str):
    run = [] if stage in tiny_runs.DATA_STAGES else ["--run", "a"]
    options = parse_options(tiny_runs.options_type(stage), stage, run)
    assert digest(options.identity()) == DEFAULTS[stage]


@pytest.mark.parametrize("stage", STAGES)
def test_a_new_option_leaves_what_is_finished_as_it_is(
    stage: str, tiny_copy: Place, monkeypatch: pytest.MonkeyPatch
):
    today = tiny_runs.options_type(stage)
    new = "sharpness", Annotated[float, Before(0.0)], dataclasses.field(default=0.0)
    later = dataclasses.make_dataclass("Later", [new], bases=(today,), frozen=True, kw_only=True)
    later.__module__ = __name__
    tiny_copy.call(stage)  # the stats of copied files are taken anew
    before = tiny_copy.content()
    monkeypatch.setattr(tiny_runs, "options_type", lambda stage: later)
    said = tiny_copy.call(stage)
    assert said.code == EXIT_DONE and "nothing to do" in said.text, said.text
    assert tiny_copy.content() == before

    said = tiny_copy.call(stage, "--sharpness", "1")
    assert said.code == EXIT_STALE and "sharpness: 0.0 -> 1.0" in said.text, said.text
    assert tiny_copy.content() == before
