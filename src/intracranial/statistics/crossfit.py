"""On which predictions something is fitted (a calibration, a threshold) before it is applied.

Never on the rows that it is applied to, nor on other rows of their patients:

- over folds, each fold's rows take what was fitted on the held-out predictions of the others;
- within one fold or folder, patients are divided into parts, and each takes what was fitted on the
  others;
- a folder of other series takes what was fitted on the run's held-out predictions.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from intracranial.statistics.sample import Sample

PARTS = 5
"""Parts into which the patients of one fold are divided."""


@dataclass(frozen=True, eq=False)
class Part:
    """Rows to apply to, int (n,), and the sample to fit on."""

    rows: np.ndarray
    fit: Sample


@dataclass(frozen=True)
class Crossfit:
    """Parts that cover every scored row once; none where there is nothing to fit on.

    `fitted_on` says in words on what, or why there is nothing.
    """

    fitted_on: str
    parts: tuple[Part, ...]


def over_folds(sample: Sample, folds: np.ndarray) -> Crossfit:
    """Each fold's rows, fitted on the held-out predictions of all other folds.

    Args:
        sample: held-out predictions of all folds.
        folds: (N,) the fold of each row.
    """
    names = np.unique(folds)
    if len(names) < 2:
        return Crossfit("nothing: there is one fold only", ())
    parts = tuple(Part(np.flatnonzero(folds == name), sample.rows(folds != name)) for name in names)
    return Crossfit("out-of-fold predictions of the other folds", parts)


def over_patients(sample: Sample, with_finding: np.ndarray, seed: int) -> Crossfit:
    """Parts of whole patients, as many with the finding in each as can be.

    Args:
        sample: the held-out predictions of one fold, or those of a folder.
        with_finding: (N,) of 0 and 1.
        seed: keys the division; the order of the rows does not matter.
    """
    names, group_of = np.unique(sample.patients, return_inverse=True)
    affected = np.zeros(len(names), dtype=bool)
    np.logical_or.at(affected, group_of, np.asarray(with_finding) == 1)
    strata = [np.flatnonzero(affected), np.flatnonzero(~affected)]
    count = min(PARTS, *map(len, strata))
    if count < 2:
        return Crossfit("nothing: fewer than two patients with and two without the finding", ())
    rng = np.random.default_rng([seed, 2])
    part_of = np.empty(len(names), dtype=np.int64)
    for members in strata:
        part_of[rng.permutation(members)] = np.arange(len(members)) % count
    chosen = part_of[group_of]
    parts = tuple(Part(np.flatnonzero(chosen == k), sample.rows(chosen != k)) for k in range(count))
    return Crossfit(f"other patients among those scored, in {count} parts", parts)


def from_reference(
    sample: Sample, reference: Sample, words: str, recognised: Collection[str] = ()
) -> Crossfit:
    """All rows, fitted on other predictions of the same run.

    Rows of the reference whose series or patient is among the scored are left out, and with them
    all rows of their patients.

    Args:
        sample: what is scored.
        reference: held-out predictions.
        words: what the reference is.
        recognised: series of the reference that share patient, study or pixels with a scored one:
            names of groups are made for each table alone, and do not always tell.
    """
    known = np.isin(reference.uids, [*sample.uids, *recognised])
    known |= np.isin(reference.groups, sample.groups)
    known |= np.isin(reference.groups, reference.groups[known])
    if known.all():
        return Crossfit(f"nothing: {words} hold no other patients", ())
    return Crossfit(words, (Part(np.arange(len(sample)), reference.rows(~known)),))
