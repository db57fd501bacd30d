"""What is found in an augmented view is brought back to where it is in the series."""

import numpy as np
import pytest

from intracranial.errors import UsageError
from intracranial.imaging.geometry import mirror_axis
from intracranial.inference.run import Predictor
from intracranial.inference.views import PLAIN, VIEWS, View, check_views, views_of
from intracranial.sampling.regions import Region, centred, input_to_cache
from intracranial.sampling.stacks import StackSpec, prepare_slices
from intracranial.tasks import RSNA_2025
from tests.challenge import LABELS
from tests.tiny_data import SAGITTAL, uid_of
from tests.tiny_runs import Place

TASK = RSNA_2025
EVERY = [
    View(columns=True, mirrored=True),
    View(slices=True, mirrored=True),
    View(slices=True),
    View(crop=0.75),
]


@pytest.mark.parametrize("view", EVERY)
@pytest.mark.parametrize(
    ("size", "region"),
    [
        (64, centred(64, 1.0)),
        (64, centred(64, 0.6)),
        (65, centred(65, 0.8)),
        (64, Region(20, 14, 60, 44)),
    ],
)
def test_the_brightest_pixel_of_a_view_is_restored_to_its_place(
    view: View, size: int, region: Region
):
    inputs = StackSpec(crop=1.0, input_size=48, mean=0.0)
    volume = np.zeros((9, size, size), dtype=np.float16)
    z, row, column = np.ogrid[:9, :size, :size]
    centre = (3, size // 2 - 3, size // 2 + 5)  # slice, y, x
    squared = (row - centre[1]) ** 2 + (column - centre[2]) ** 2 + 9 * (z - centre[0]) ** 2
    volume[:] = 5 * np.exp(-squared / 18)
    seen = view.transform(prepare_slices(volume, inputs, region))
    index, _, y, x = np.unravel_index(seen.argmax(), seen.shape)
    peaks = np.zeros((9, 14, 3))
    peaks[..., :2] = input_to_cache(np.array([x, y], dtype=np.float64), region, 48)
    peaks[index, :, 2] = 1
    restored = view.restore_peaks(peaks, TASK, region, 48)
    assert restored[:, 0, 2].argmax() == centre[0]
    away = np.abs(restored[centre[0], 0, :2] - (centre[2], centre[1]))
    assert (away <= 0.75 / region.scale(48)).all()


def test_a_mirrored_view_exchanges_labels_with_a_side_and_nothing_else():
    values = np.arange(14.0)
    found = dict(
        zip(LABELS, View(columns=True, mirrored=True).restore_labels(values, TASK), strict=True)
    )
    plain = dict(zip(LABELS, values, strict=True))
    assert found["Left Middle Cerebral Artery"] == plain["Right Middle Cerebral Artery"]
    assert found["Basilar Tip"] == plain["Basilar Tip"]
    assert np.array_equal(View(slices=True).restore_labels(values, TASK), values)


def test_reversed_slices_are_put_back_in_order():
    curve = np.arange(28.0).reshape(2, 14)
    assert np.array_equal(View(slices=True).restore_labels(curve, TASK), curve[::-1])


def test_a_flip_follows_the_plane_and_is_left_out_where_left_is_not_known():
    plain = {"plain": PLAIN}
    assert views_of(("flip",), mirror_axis("axial")) == {**plain, "flip": EVERY[0]}
    assert views_of(("flip", "reverse"), mirror_axis("sagittal")) == {**plain, "flip": EVERY[1]}
    assert views_of(("flip", "reverse"), None) == plain
    assert list(views_of((*VIEWS, "flip"), "columns")) == ["plain", *VIEWS]


def test_unknown_views_are_refused():
    with pytest.raises(UsageError, match=r"'twist': choose from flip, reverse, crop"):
        check_views(["flip", "twist"])


@pytest.mark.parametrize("number", [0, SAGITTAL])
def test_views_are_averaged_and_keep_the_points_in_the_series(tiny: Place, number: int):
    folder = tiny.data.series / uid_of(number)
    run = tiny.model_dir / "tiny"
    some = {"device": "cpu", "precision": "fp32"}
    plain = Predictor(run, **some)
    more = Predictor(run, views=VIEWS, **some)
    assert plain.identity != more.identity
    one, mean = plain.predict(folder), more.predict(folder)
    assert one.slice_probabilities.shape == mean.slice_probabilities.shape
    assert not np.array_equal(one.probabilities, mean.probabilities)
    assert np.allclose(one.probabilities, mean.probabilities, atol=0.2)
    assert all(-0.5 <= point.x <= 63.5 for point in mean.points)


def test_what_each_view_and_step_says_is_kept_and_the_order_of_the_views_means_nothing(tiny: Place):
    some = {"device": "cpu", "precision": "fp32"}
    predictor = Predictor(tiny.model_dir / "tiny", views=("crop", "flip"), **some)
    found = next(predictor.detect_many([tiny.data.series / uid_of(0)]))
    steps = predictor.fold_predictors[0].encoder.steps
    assert list(found.by_view) == ["plain", "flip", "crop"]
    assert all(one.shape == (len(steps), len(LABELS)) for one in found.by_view.values())
    mean = np.mean([one.mean(axis=0) for one in found.by_view.values()], axis=0)
    assert np.array_equal(mean, found.probabilities)
    plain = Predictor(tiny.model_dir / "tiny", **some)
    alone = next(plain.detect_many([tiny.data.series / uid_of(0)]))
    assert np.array_equal(alone.by_view["plain"], found.by_view["plain"])


def test_one_step_alone_gives_what_it_adds_to_the_mean(tiny: Place):
    some = {"device": "cpu", "precision": "fp32"}
    run, folder = tiny.model_dir / "tiny", tiny.data.series / uid_of(0)
    both = Predictor(run, **some)
    found = next(both.detect_many([folder]))
    for position, step in enumerate(both.fold_predictors[0].encoder.steps):
        alone = Predictor(run, steps=(step,), **some)
        assert alone.identity != both.identity
        assert np.array_equal(alone.predict(folder).probabilities, found.by_view["plain"][position])
    with pytest.raises(UsageError, match=r"--steps 3: stage 1 was trained with steps 1, 2"):
        Predictor(run, steps=(3,), **some)
