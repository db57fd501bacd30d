"""The table of views and steps: what is written is read back, and folds that differ are refused."""

import numpy as np
import pytest

from intracranial.errors import InputError, MissingArtifact
from intracranial.evaluation.views import Views, joined, read_views, write_views
from tests.statistics.test_intervals import TASK

UIDS = ["1.2.1", "1.2.2", "1.2.3"]


@pytest.fixture
def seen():
    """Three series at two steps; the second lacks the flip."""
    rng = np.random.default_rng(0)
    count = len(TASK.labels)
    by_view = [
        {name: rng.random((2, count)) for name in ("plain", "flip", "crop")[: 3 if k != 1 else 1]}
        for k in range(3)
    ]
    return Views(rng.random((3, count)), by_view, ("flip", "crop"), (1, 2))


def test_what_is_written_is_read_back_to_the_bit_in_any_order(tmp_path, seen):
    path = tmp_path / "views.csv"
    write_views(path, TASK, UIDS, seen)
    found = read_views(path, TASK, UIDS[::-1])
    assert (found.views, found.steps) == (seen.views, seen.steps)
    assert np.array_equal(found.maximum, seen.maximum[::-1])
    for one, expected in zip(found.by_view, seen.by_view[::-1], strict=True):
        assert list(one) == list(expected)
        assert all(np.array_equal(one[name], expected[name]) for name in one)


def test_a_missing_table_series_or_column_says_what_to_run(tmp_path, seen):
    path = tmp_path / "views.csv"
    with pytest.raises(MissingArtifact, match=r"run eval_end_to_end\.py"):
        read_views(path, TASK, UIDS)
    write_views(path, TASK, UIDS, seen)
    with pytest.raises(InputError, match=r"no row .*1\.2\.9.*eval_end_to_end\.py --overwrite"):
        read_views(path, TASK, ["1.2.9"])
    path.write_text(path.read_text().replace(",step,", ",stride,", 1))
    with pytest.raises(InputError, match="no column 'step'"):
        read_views(path, TASK, UIDS)


def test_folds_that_were_seen_in_other_ways_are_not_joined(seen):
    both = joined([seen, seen])
    assert both.maximum.shape == (6, len(TASK.labels)) and len(both.by_view) == 6
    one_step = [{name: steps[:1] for name, steps in one.items()} for one in seen.by_view]
    with pytest.raises(InputError, match="give all of them the same --views and --steps"):
        joined([seen, Views(seen.maximum, one_step, seen.views, (1,))])
    with pytest.raises(InputError, match="different ways"):
        joined([seen, Views(seen.maximum, seen.by_view, ("flip",), seen.steps)])
