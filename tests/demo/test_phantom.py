"""The synthetic heads are what their labels say, and nothing but the sac gives a label away."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from intracranial.demo import dataset
from intracranial.demo.dataset import make_data_set, make_series, patient_of, uid_from
from intracranial.demo.dicom_writer import Identity, write_series
from intracranial.demo.geometry import Acquisition, grid_of, plane_orientation
from intracranial.demo.phantom import make_patient, render
from intracranial.demo.protocol import draw_acquisition
from intracranial.demo.streams import Purpose, stream
from intracranial.errors import InputError
from intracranial.imaging.geometry import cache_to_patient, mirror_axis, patient_to_cache
from intracranial.imaging.series import read_series
from intracranial.options.stage1 import StackAugmentation
from intracranial.sampling.augment import augment
from tests.challenge import ANEURYSM_PRESENT, LABELS, MODALITIES, TRAIN_COLUMNS

MIRROR = StackAugmentation(
    flip_lr=1.0, flip_other=0.0, rot90=0.0, affine=0.0, drift=0.0, patch_dropout=0.0
)
SERIES = 10


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    assert len(list(make_data_set(folder, SERIES, seed=3, num_workers=2))) == SERIES
    return folder


def identity(uid: str = "2.25.7") -> Identity:
    return Identity("SYN1", "2.25.8", uid, "2.25.9", 60, "F")


def small(modality: str = "CTA", plane: str = "axial", **changes: object) -> Acquisition:
    plain = Acquisition(
        modality=modality,
        plane=plane,
        n_slices=48,
        rows=96,
        columns=96,
        pixel_spacing=(2.2, 2.2),
        slice_spacing=2.2,
        slice_thickness=2.2,
        orientation=plane_orientation(plane),
        noise=0.0,
        contrast_seed=4,
    )
    return replace(plain, **changes)


def patient_with_large_sac():
    for index in range(200):
        patient = make_patient(11, index)
        found = [f for f in patient.aneurysms if f.radius > 3.5 and abs(f.centre[0]) > 8]
        if found:
            return patient, found[0]
    raise AssertionError("no such patient")


def test_the_tables_have_the_challenges_columns_and_agree(data_set: Path) -> None:
    train = pd.read_csv(data_set / "train.csv")
    localizers = pd.read_csv(data_set / "train_localizers.csv")
    assert tuple(train.columns) == TRAIN_COLUMNS
    assert set(train["Modality"]) <= set(MODALITIES)
    for row in train.to_dict("records"):
        uid = row["SeriesInstanceUID"]
        located = set(localizers.loc[localizers["SeriesInstanceUID"] == uid, "location"])
        assert located == {label for label in LABELS[:-1] if row[label]}
        assert row[ANEURYSM_PRESENT] == int(bool(located))
        files = {path.stem for path in (data_set / "series" / uid).iterdir()}
        used = localizers.loc[localizers["SeriesInstanceUID"] == uid, "SOPInstanceUID"]
        assert set(used) <= files


def test_every_series_is_read_with_its_geometry(data_set: Path) -> None:
    for folder in (data_set / "series").iterdir():
        series = read_series(folder)
        assert series.geometry.geometry_known
        assert len(series.pixels) > 20


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, data_set: Path) -> None:
    again = make_series(tmp_path, 3, 2)
    uid = str(again.train[0])
    for path in (data_set / "series" / uid).iterdir():
        assert path.read_bytes() == (tmp_path / "series" / uid / path.name).read_bytes()


def test_some_patients_have_two_series() -> None:
    patients = [patient_of(0, number) for number in range(200)]
    second = [number for number, (_, which) in enumerate(patients) if which]
    assert 5 < len(second) < 40
    assert all(patients[number][0] == number - 1 for number in second)


def test_uids_are_valid() -> None:
    uid = uid_from("series", 0, 1)
    assert len(uid) <= 60 and set(uid) <= set("0123456789.") and uid.startswith("2.25.")


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_sac_stands_out_as_its_modality_shows_it(modality: str) -> None:
    patient, finding = patient_with_large_sac()
    acquisition = small(modality)
    with_sac = render(patient, acquisition)
    without = render(replace(patient, sacs=()), acquisition)
    at = tuple(np.round(grid_of(acquisition).to_index(finding.centre)).astype(int))
    change = with_sac[at] - without[at]
    assert change < -50 if modality == "MRI T2" else change > 100
    far = np.abs(with_sac - without) > 1
    assert far.mean() < 0.01  # nothing else of the image tells


def test_left_is_the_patients_left() -> None:
    sides = {"Left": [], "Right": []}
    for index in range(150):
        for sac in make_patient(2, index).sacs:
            side = sac.location.split()[0]
            if side in sides and "Anterior Cerebral" not in sac.location:
                sides[side].append(sac.centre[0])
    assert min(map(len, sides.values())) > 10
    assert min(sides["Left"]) > 0 > max(sides["Right"])


@pytest.mark.parametrize("multiframe", [False, True])
@pytest.mark.parametrize("syntax", ["explicit", "implicit", "rle", "jpeg2000"])
def test_written_values_are_read_back_in_hounsfield_units(
    tmp_path: Path, multiframe: bool, syntax: str
) -> None:
    acquisition = small(
        n_slices=6, rows=48, columns=40, multiframe=multiframe, transfer_syntax=syntax,
        instance_order="shuffled", intercept=-1000.0, signed=syntax == "rle",
    )  # fmt: skip
    volume = np.random.default_rng(0).uniform(-900, 1500, (6, 48, 40)).astype(np.float32)
    write_series(tmp_path / "2.25.7", volume, acquisition, identity())
    series = read_series(tmp_path / "2.25.7")
    assert np.abs(series.pixels - volume).max() <= 0.51


def test_one_head_in_three_planes_has_its_sac_at_one_point_and_mirrors_alike(
    tmp_path: Path,
) -> None:
    patient, finding = patient_with_large_sac()
    size = 96
    values, mirrored = {}, {}
    for number, plane in enumerate(("axial", "coronal", "sagittal")):
        acquisition = small(plane=plane, n_slices=72, reverse_slices=plane == "coronal")
        uid = f"2.25.7{number}"
        write_series(tmp_path / uid, render(patient, acquisition), acquisition, identity(uid))
        series = read_series(tmp_path / uid)
        assert series.geometry.plane == plane

        def at(pixels, point, series=series):
            x, y, index = patient_to_cache(series.geometry, point[None], series.positions, size)[0]
            corner = np.round([index, y, x]).astype(int)
            return pixels[tuple(slice(c - 1, c + 2) for c in corner)].max()

        values[plane] = at(series.pixels, finding.centre)
        axis = mirror_axis(plane)
        flipped = augment(
            series.pixels, np.zeros((0, 2)), axis, MIRROR, np.random.default_rng(0)
        ).stack
        n = len(series.pixels)
        middle = np.array([[(size - 1) / 2, (size - 1) / 2, (n - 1) / 2]])
        centre = cache_to_patient(series.geometry, middle, series.positions, size)[0]
        reflected = finding.centre * [-1, 1, 1] + np.array([2 * centre[0], 0, 0])
        mirrored[plane] = at(flipped, reflected)
        assert at(series.pixels, reflected) < values[plane] - 100  # it was not there before
    assert min(values.values()) > 200
    for plane, value in mirrored.items():
        assert value == pytest.approx(values[plane], abs=1), plane


@pytest.mark.slow
def test_neither_tails_nor_metadata_tell_who_has_an_aneurysm() -> None:
    """On 400 series of full size benchmarks/demo_shortcuts.py states the same."""
    rows, kinds, labels = [], [], []
    for number in range(160):
        patient = make_patient(21, number)
        drawn = draw_acquisition(stream(21, number, Purpose.PROTOCOL))
        acquisition = replace(
            drawn, n_slices=16, rows=64, columns=64, pixel_spacing=(3.4, 3.4),
            slice_spacing=5.0, slice_thickness=5.0, plane="axial",
            orientation=plane_orientation("axial"),
        )  # fmt: skip
        volume = render(patient, acquisition)
        tails = np.percentile(volume, [0, 0.1, 50, 99, 99.5, 99.9, 100])
        meta = [
            drawn.n_slices,
            drawn.rows,
            drawn.columns,
            *drawn.pixel_spacing,
            drawn.slice_spacing,
        ]
        rows.append([*tails, *meta])
        kinds.append(MODALITIES.index(drawn.modality))
        labels.append(bool(patient.sacs))
    labels, values = np.array(labels), np.array(rows)
    modality = np.eye(len(MODALITIES))[kinds]
    assert auc(values[:, 7:], labels) < 0.6
    tails = np.hstack([values[:, :7] * modality[:, [k]] for k in range(len(MODALITIES))])
    assert auc(np.hstack([tails, modality]), labels) < 0.6
    leak = values[:, [5]] * (1 + 0.3 * labels[:, None])  # such a leak would be found
    assert auc(np.hstack([leak * modality, modality]), labels) > 0.6


def auc(features: np.ndarray, labels: np.ndarray) -> float:
    scaled = (features - features.mean(0)) / (features.std(0) + 1e-9)
    model = LogisticRegression(max_iter=2000)
    found = cross_val_predict(model, scaled, labels, cv=5, method="predict_proba")[:, 1]
    return float(roc_auc_score(labels, found))


def _die(folder: Path, seed: int, number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_dies_is_an_input_error_that_names_its_series(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "make_series", _die)
    with pytest.raises(InputError, match=r"series 0 died .* fewer --num_workers"):
        list(make_data_set(tmp_path, 2, seed=3, num_workers=1))
