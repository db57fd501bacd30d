"""Whether anything but the sacs tells who has an aneurysm in the synthetic data.

Cross-validated AUC for Aneurysm Present of models that see only metadata, or only maximum, minimum
and tail percentiles by modality. Both must stay below 0.6 on 400 series.

    python tools/make_demo_data.py --out_dir demo/shortcuts --series 400
    python preprocess_data.py --config configs/demo.yaml --data_dir demo/shortcuts --no_slices
    python -m benchmarks.demo_shortcuts --data_dir demo/shortcuts
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tyro
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from intracranial.artifacts import DataPaths, load_array
from intracranial.provenance import MADE_BY
from intracranial.tasks import SERIES_COLUMN
from tests.challenge import ANEURYSM_PRESENT, MODALITIES

PERCENTILES = (0, 0.1, 1, 50, 90, 99, 99.5, 99.9, 99.95, 99.99, 100)
LIMIT = 0.6


@dataclass(frozen=True)
class Options:
    """What to measure."""

    data_dir: Path = Path("demo/shortcuts")
    """A preprocessed data set."""


def metadata(table: pd.DataFrame, data: DataPaths) -> np.ndarray:
    """Everything known without pixels: slices, files, matrix, spacing, age, sex, series a group."""
    files = [len(list((data.series / uid).iterdir())) for uid in table[SERIES_COLUMN]]
    columns = ["n", "rows", "columns", "spacing_slice", "spacing_row", "PatientAge"]
    male = table["PatientSex"] == "Male"
    shared = table.groupby("group")["group"].transform("size")
    return np.column_stack([table[columns].fillna(0).to_numpy(float), files, male, shared])


def intensities(table: pd.DataFrame, data: DataPaths) -> np.ndarray:
    """Percentiles of every series' pixels, in a column of their own for each modality."""
    tails = np.array(
        [
            np.percentile(load_array(data.sequence(uid), MADE_BY["preprocess"]), PERCENTILES)
            for uid in table[SERIES_COLUMN]
        ]
    )
    flags = np.column_stack([table["Modality"] == name for name in MODALITIES]).astype(float)
    return np.hstack([flags, tails, *(tails * flags[:, [k]] for k in range(len(MODALITIES)))])


def main(options: Options) -> int:
    """Print the AUCs; 1 when one of them is not below the limit."""
    data = DataPaths(options.data_dir)
    table = pd.read_csv(data.train_meta_csv)
    labels = table[ANEURYSM_PRESENT].to_numpy()
    worst = 0.0
    print(f"{len(table)} series, {labels.sum()} with an aneurysm; cross-validated AUC")
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    for name, features in (
        ("metadata", metadata(table, data)),
        ("intensities", intensities(table, data)),
    ):
        for model in (
            make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=5000)),
            RandomForestClassifier(400, min_samples_leaf=4, random_state=0),
        ):
            found = cross_val_predict(model, features, labels, cv=folds, method="predict_proba")
            auc = roc_auc_score(labels, found[:, 1])
            kind = "linear" if not isinstance(model, RandomForestClassifier) else "forest"
            print(f"  {name}, {kind}: {auc:.3f}")
            worst = max(worst, auc)
    return int(worst >= LIMIT)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, use_underscores=True)))
