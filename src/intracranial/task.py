"""What is predicted: the only module that knows a task's names.

Labels, their order, left/right pairs, metric weights and modality names follow the RSNA 2025
Intracranial Aneurysm Detection challenge (data page and evaluation page).
"""

from dataclasses import dataclass

import numpy as np

from intracranial.errors import InputError

LOCATIONS = (
    "Left Infraclinoid Internal Carotid Artery",
    "Right Infraclinoid Internal Carotid Artery",
    "Left Supraclinoid Internal Carotid Artery",
    "Right Supraclinoid Internal Carotid Artery",
    "Left Middle Cerebral Artery",
    "Right Middle Cerebral Artery",
    "Anterior Communicating Artery",
    "Left Anterior Cerebral Artery",
    "Right Anterior Cerebral Artery",
    "Left Posterior Communicating Artery",
    "Right Posterior Communicating Artery",
    "Basilar Tip",
    "Other Posterior Circulation",
)
ANEURYSM_PRESENT = "Aneurysm Present"
LABELS = (*LOCATIONS, ANEURYSM_PRESENT)
MODALITIES = ("CTA", "MRA", "MRI T2", "MRI T1post")
"""Values of train.csv's Modality column; they serve folds and reports only."""

SERIES_COLUMN = "SeriesInstanceUID"
SOP_COLUMN = "SOPInstanceUID"
TRAIN_COLUMNS = (SERIES_COLUMN, "PatientAge", "PatientSex", "Modality", *LABELS)
"""The 18 columns of train.csv in the challenge's order."""
LOCALIZER_COLUMNS = (SERIES_COLUMN, SOP_COLUMN, "coordinates", "location")


@dataclass(frozen=True)
class Task:
    """Names, order and weights of a multilabel series-classification task with located findings.

    `labels` is the order of every probability vector; `locations` are the labels that a localizer
    row may carry and the order of every heat-map channel; `overall` is the label that summarises
    them; `overall_weight` is its share of the weighted AUC.
    """

    name: str
    locations: tuple[str, ...]
    overall: str
    labels: tuple[str, ...]
    overall_weight: float

    @property
    def overall_index(self) -> int:
        """Position of the overall label in `labels`."""
        return self.labels.index(self.overall)

    def label_of_location(self) -> np.ndarray:
        """Position in `labels` of each location: int64 (P,)."""
        return np.array([self.labels.index(name) for name in self.locations], dtype=np.int64)

    def mirrored(self) -> tuple[int, ...]:
        """Index permutation of `labels` under a left-right flip: new[i] = old[mirrored[i]]."""
        return mirror_permutation(self.labels)


def mirror_permutation(names: tuple[str, ...]) -> tuple[int, ...]:
    """Index of each name's left-right partner; names without a side keep their own index.

    Raises:
        InputError: a name with a side has no partner.
    """
    swapped = []
    for name in names:
        if name.startswith("Left "):
            partner = "Right " + name.removeprefix("Left ")
        elif name.startswith("Right "):
            partner = "Left " + name.removeprefix("Right ")
        else:
            partner = name
        if partner not in names:
            raise InputError(
                f"{name!r} has no partner {partner!r} among the labels: a left-right flip has no "
                "meaning for this task; leave flips out"
            )
        swapped.append(names.index(partner))
    return tuple(swapped)


RSNA_2025 = Task(
    name="rsna-2025-intracranial-aneurysm",
    locations=LOCATIONS,
    overall=ANEURYSM_PRESENT,
    labels=LABELS,
    overall_weight=0.5,
)
