"""What something is fitted on is never what it is applied to, nor of the same patients."""

import numpy as np

from intracranial.statistics.crossfit import from_reference
from intracranial.statistics.sample import Sample


def a_sample(uids: list[str], groups: list[str]) -> Sample:
    n = len(uids)
    return Sample(np.zeros((n, 1), dtype=int), np.zeros((n, 1)), np.array(uids), np.array(groups))


SCORED = a_sample(["9.1", "9.2"], ["x", "y"])
REFERENCE = a_sample(["1.1", "1.2", "1.3", "1.4"], ["p", "p", "q", "r"])


def fitted_on(recognised: tuple[str, ...]) -> list[str]:
    return [
        uid
        for part in from_reference(SCORED, REFERENCE, "others", recognised).parts
        for uid in part.fit.uids.tolist()
    ]


def test_series_that_were_recognised_are_left_out_with_all_series_of_their_patients():
    assert fitted_on(()) == ["1.1", "1.2", "1.3", "1.4"]
    assert fitted_on(("1.1",)) == ["1.3", "1.4"]
    assert fitted_on(("1.4", "1.1")) == ["1.3"]


def test_nothing_is_fitted_where_every_patient_was_recognised():
    crossfit = from_reference(SCORED, REFERENCE, "others", ["1.2", "1.3", "1.4"])
    assert crossfit.parts == () and crossfit.fitted_on == "nothing: others hold no other patients"
