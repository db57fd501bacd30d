"""What an evaluation scores: predictions, the truth, and what is known of each row."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)
class Sample:
    """N scored rows: series, or spots of series.

    Attributes:
        targets: (N, L) of 0 and 1 in the task's label order.
        probabilities: (N, L) float.
        uids: (N,) SeriesInstanceUID.
        groups: (N,) the patient of each row.
        traits: by name of a trait, its value in words for each row: (N,) str.
    """

    targets: np.ndarray
    probabilities: np.ndarray
    uids: np.ndarray
    groups: np.ndarray
    traits: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that every column has N rows.

        Raises:
            ValueError: one has not.
        """
        rows = len(self.targets)
        columns = (self.probabilities, self.uids, self.groups, *self.traits.values())
        if any(len(column) != rows for column in columns):
            raise ValueError(f"columns of a sample of {rows} rows differ in length")

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.targets)

    @property
    def patients(self) -> np.ndarray:
        """(N,) int64: the patient of each row as a number, counted by the smallest UID of each.

        What is drawn of patients is drawn in this order: that of the names in `groups` hangs on a
        secret key, and would draw others on another machine.
        """
        _, row_of = np.unique(self.groups, return_inverse=True)
        _, first = np.unique(row_of[np.argsort(self.uids, kind="stable")], return_index=True)
        return np.argsort(np.argsort(first))[row_of]

    def rows(self, chosen: np.ndarray) -> "Sample":
        """The chosen rows: a mask or numbers."""
        return Sample(
            self.targets[chosen],
            self.probabilities[chosen],
            self.uids[chosen],
            self.groups[chosen],
            {name: values[chosen] for name, values in self.traits.items()},
        )

    def has_one_patient_per_row(self) -> bool:
        """Whether no two rows are of one patient."""
        return len(np.unique(self.groups)) == len(self)
