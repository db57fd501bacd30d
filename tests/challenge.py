"""Names of the 2025 challenge's task, which the tests' data are of."""

from intracranial.tasks import RSNA_2025, SERIES_COLUMN

LOCATIONS = RSNA_2025.locations
ANEURYSM_PRESENT = "Aneurysm Present"
LABELS = RSNA_2025.labels
MODALITIES = RSNA_2025.modalities
TRAIN_COLUMNS = (SERIES_COLUMN, "PatientAge", "PatientSex", "Modality", *LABELS)
"""The 18 columns of train.csv in the challenge's order."""
OVERALL = LABELS.index(ANEURYSM_PRESENT)
"""Position of the overall label."""
