"""Options that are added later: what was finished stays finished, a change of them is a change."""

import dataclasses
from typing import Annotated

import pytest

from intracranial.config import STAGES
from intracranial.errors import EXIT_DONE, EXIT_STALE
from intracranial.options.common import Before, DataOptions, Setting
from tests import tiny_runs
from tests.tiny_runs import Place


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(DataOptions):
    lr: float = 0.1
    workers: Setting[int] = 2
    sharpness: Annotated[float, Before(0.0)] = 0.0
    sizes: Annotated[tuple[int, ...], Before([1])] = (1,)


def test_settings_are_no_part_of_an_identity():
    assert Options().identity() == Options(workers=8, overwrite=True).identity() == {"lr": 0.1}


def test_an_option_at_what_its_absence_meant_is_no_part_of_it():
    assert Options(sizes=(1, 2)).identity() == {"lr": 0.1, "sizes": [1, 2]}
    assert Options(sharpness=1.0).request("stage1", {}).identity != (
        Options().request("stage1", {}).identity
    )


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
