"""Patients are counted by their series, since their names differ from machine to machine."""

import numpy as np

from intracranial.statistics.bootstrap import draw_resamples
from intracranial.statistics.crossfit import over_patients
from intracranial.statistics.sample import Sample


def a_sample(names: dict[int, str], rows: np.ndarray) -> Sample:
    """Sixty rows of 25 patients, given in some order."""
    patient = np.arange(60) * 7 % 25
    targets = (patient % 3 == 0).astype(np.int64)[:, None]
    uids = np.array([f"1.2.{(k * 11) % 60}" for k in range(60)])
    groups = np.array([names[k] for k in patient])
    return Sample(targets, targets * 0.5, uids, groups).rows(rows)


def test_names_of_patients_and_the_order_of_rows_change_neither_numbers_nor_draws():
    rng = np.random.default_rng(0)
    plain = np.arange(60)
    first = a_sample({k: f"{k:02d}" for k in range(25)}, plain)
    assert sorted(set(first.patients)) == list(range(25))
    order = [min(first.uids[first.patients == k].tolist()) for k in range(25)]
    assert order == sorted(order)
    for _ in range(5):
        names = {k: f"{name:02d}" for k, name in enumerate(rng.permutation(25))}
        rows = rng.permutation(60)
        other = a_sample(names, rows)
        assert np.array_equal(other.patients, first.patients[rows])
        drawn, again = (
            draw_resamples(one.patients, one.targets[:, 0], 50, 0) for one in (first, other)
        )
        assert np.array_equal(drawn.counts, again.counts)
        parts = [
            {
                frozenset(one.uids[part.rows])
                for part in over_patients(one, one.targets[:, 0], 0).parts
            }
            for one in (first, other)
        ]
        assert parts[0] == parts[1] and len(parts[0]) == 5


def test_no_rows_have_no_patients():
    assert not a_sample({k: str(k) for k in range(25)}, np.zeros(60, dtype=bool)).patients.size
