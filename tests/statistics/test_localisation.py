"""Points are judged against labelled centres in millimetres, and FROC counts as it says."""

import json
from dataclasses import replace

import numpy as np
import pytest

from intracranial.artifacts import ScoredFolderPaths
from intracranial.errors import InputError
from intracranial.evaluation.points import located_of_split, read_points
from intracranial.inference.points import Point
from intracranial.jsonable import to_json
from intracranial.report.page import render
from intracranial.report.plots import froc
from intracranial.splits.split_files import load_split
from intracranial.statistics.bootstrap import draw_resamples
from intracranial.statistics.crossfit import Crossfit, Part, over_patients
from intracranial.statistics.localisation import RIGHT_MM, Located, froc_table, localisation_table
from intracranial.statistics.sample import Sample
from intracranial.tasks import RSNA_2025
from tests.challenge import OVERALL
from tests.evaluation.samples import a_report
from tests.tiny_runs import Place, read

TASK = RSNA_2025
TIP = TASK.labels.index("Basilar Tip")


def a_point(score: float, mm=(0.0, 0.0, 0.0), rank: int | None = 1, label: str = "Basilar Tip"):
    return Point(label, 0.5, score, rank, 0, "1.2.3", 0, 1.0, 2.0, (1.0, 2.0), mm)


def located(points, centres=(), location: str = "Basilar Tip", known: bool = True) -> Located:
    places = np.array(centres, dtype=np.float64).reshape(-1, 3)
    return Located(points, places, [location] * len(places), known)


def every_location(mm, score: float = 0.1) -> list[Point]:
    """A ranked point of the overall label and one of every location, all at one place."""
    others = [a_point(score, mm, None, name) for name in TASK.locations]
    return [a_point(score, mm, 1, TASK.overall), *others]


def a_study(distances, seed: int = 0):
    """Positive series with a point at each distance in mm from its centre, and as many negative.

    Positives score 0.9 and negatives 0.1 to 0.5, so that every positive is called.
    """
    rng = np.random.default_rng(seed)
    n = len(distances)
    targets = np.zeros((2 * n, 14))
    targets[:n, [TIP, OVERALL]] = 1
    probabilities = np.where(targets == 1, 0.9, rng.uniform(0.1, 0.5, targets.shape))
    names = np.array([f"patient {i}" for i in range(2 * n)])
    series = [
        located(every_location((distance, 0.0, 0.0)), [(0.0, 0.0, 0.0)]) for distance in distances
    ]
    series += [located(every_location((0.0, 0.0, 0.0))) for _ in range(n)]
    return Sample(targets, probabilities, names, names), series


def table_of(sample: Sample, series, seed: int = 0):
    finding = sample.targets[:, OVERALL]
    drawn = draw_resamples(sample.groups, finding, 500, seed)
    return localisation_table(TASK, sample, series, over_patients(sample, finding, seed), drawn)


def test_the_share_of_true_positives_is_that_within_each_distance():
    table = table_of(*a_study([1.0] * 10 + [7.0] * 6 + [30.0] * 4))
    for part in ("true_positives", "true_positive_locations"):
        found = getattr(table, part)
        assert found.count == 20 and found.median_mm == pytest.approx(4.0)
        assert found.within_mm["5"].value == pytest.approx(0.5)
        assert found.within_mm["10"].value == pytest.approx(0.8)
        low, high = found.within_mm["10"].low, found.within_mm["10"].high
        # the binomial interval of 16 of 20 is 0.56 to 0.94 (exact) and 0.62 to 0.98 (normal)
        assert 0.55 < low < 0.7 and 0.9 < high <= 1.0
    json.dumps(to_json(table), allow_nan=False)


def test_a_centre_that_is_farther_along_the_slices_is_far():
    sample, series = a_study([0.0] * 20)
    series[:20] = [located(every_location((0.0, 0.0, 11.0)), [(0, 0, 0)])] * 20
    assert table_of(sample, series).true_positives.within_mm["10"].value == 0


def test_series_below_the_threshold_are_no_true_positives():
    sample, series = a_study([1.0] * 20)
    sample.probabilities[:5] = 0.05
    assert table_of(sample, series).true_positives.count == 15


def test_thresholds_come_from_the_other_patients_only():
    sample, series = a_study([1.0] * 20)
    strict = Sample(sample.targets, sample.probabilities + 0.5, sample.uids, sample.groups)
    crossfit = Crossfit("another run", (Part(np.arange(40), strict),))
    table = localisation_table(TASK, sample, series, crossfit, None)
    assert table.threshold_from == "another run"
    # negatives of the other run reach 1.0, which no positive of this one does
    assert table.true_positives.count == 0
    assert table.true_positives.within_mm["10"].value is None


def test_labels_with_too_few_series_for_a_threshold_are_named():
    table = table_of(*a_study([1.0] * 20))
    left_out = table.true_positive_locations.left_out
    assert "Basilar Tip" not in left_out and len(left_out) == 12
    table = table_of(*a_study([1.0] * 4))
    assert table.true_positives.left_out == (TASK.overall,)


def test_series_without_geometry_or_with_a_label_without_centre_are_not_judged():
    sample, series = a_study([1.0] * 20)
    series[0] = located(every_location(None), [(0, 0, 0)], known=False)
    series[1] = located(every_location((1.0, 0.0, 0.0)))
    series[2] = located(
        every_location((1.0, 0.0, 0.0)), [(0, 0, 0)], "Anterior Communicating Artery"
    )
    table = table_of(sample, series)
    assert table.judged == 37 and table.froc.series == 37
    assert table.not_judged == {"geometry unknown": 1, "label without a centre": 2}
    assert table.true_positives.count == 17


def slow_froc(series, rate: float) -> float:
    """Largest sensitivity over all thresholds with at most `rate` false points a series."""
    best = 0.0
    thresholds = {point.score for one in series for point in one.points}
    for threshold in thresholds:
        hits = false = centres = 0
        for one in series:
            called = [p for p in one.points if p.rank is not None and p.score >= threshold]
            centres += len(one.centres)
            for centre in one.centres:
                hits += any(np.linalg.norm(np.subtract(p.mm, centre)) <= RIGHT_MM for p in called)
            for point in called:
                near = [np.linalg.norm(np.subtract(point.mm, c)) <= RIGHT_MM for c in one.centres]
                false += not any(near)
        if false / len(series) <= rate:
            best = max(best, hits / centres)
    return best


def random_series(n: int, seed: int) -> list[Located]:
    rng = np.random.default_rng(seed)
    series = []
    for _ in range(n):
        centres = rng.uniform(0, 60, (rng.integers(0, 3), 3))
        points = [
            a_point(round(rng.random(), 2), tuple(rng.uniform(0, 60, 3)), rank)
            for rank in (1, 2, 3, None)
        ]
        for centre in centres:
            points.append(a_point(round(rng.uniform(0.2, 1), 2), tuple(centre + 2), 4))
        series.append(located(points, centres))
    return series


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_froc_is_what_counting_at_every_threshold_gives(seed: int):
    series = random_series(25, seed)
    table = froc_table(series, np.ones(25, dtype=bool), None)
    for rate in (0.125, 0.5, 1, 2, 4):
        assert table.sensitivity[f"{rate:g}"].value == pytest.approx(slow_froc(series, rate))


def test_two_points_on_one_centre_are_one_hit_and_no_false_point():
    points = [a_point(0.9, (0, 0, 0), 1), a_point(0.8, (0, 0, 9), 2)]
    table = froc_table([located(points, [(0, 0, 0)])], np.array([True]), None)
    assert table.sensitivity["0.125"].value == 1.0


def test_points_that_are_not_ranked_are_neither_hit_nor_false():
    points = [a_point(0.5, (40, 0, 0), 1), a_point(0.9, (0, 0, 0), None)]
    table = froc_table([located(points, [(0, 0, 0)])], np.array([True]), None)
    assert table.sensitivity["4"].value == 0.0


def test_the_curve_rises_and_its_band_holds_it():
    series = random_series(60, 3)
    names = np.arange(60).astype(str)
    finding = np.array([len(one.centres) > 0 for one in series])
    drawn = draw_resamples(names, finding, 500, 0)
    curve = froc_table(series, np.ones(60, dtype=bool), drawn).curve
    values = [cell.value for cell in curve]
    assert values == sorted(values)
    inside = [cell.low <= cell.value <= cell.high for cell in curve if cell.low is not None]
    assert len(inside) > 20 and np.mean(inside) > 0.9


def test_a_patient_s_repeated_series_do_not_narrow_the_band():
    series = random_series(30, 4)
    finding = np.array([len(one.centres) > 0 for one in series])
    names = np.arange(30).astype(str)

    def width(copies: int, patients) -> float:
        groups = np.tile(names, copies) if patients else np.arange(30 * copies).astype(str)
        drawn = draw_resamples(groups, np.tile(finding, copies), 1000, 0)
        found = froc_table(series * copies, np.ones(30 * copies, dtype=bool), drawn)
        cell = found.sensitivity["1"]
        return cell.high - cell.low

    assert width(4, patients=True) == pytest.approx(width(1, patients=True), rel=0.1)
    assert width(4, patients=False) < 0.7 * width(1, patients=False)


def test_without_any_centre_there_is_no_curve():
    assert froc_table([located([a_point(0.5)])], np.array([True]), None) is None


def test_the_figure_has_the_curve_of_the_table_and_its_band():
    series = random_series(60, 3)
    finding = np.array([len(one.centres) > 0 for one in series])
    drawn = draw_resamples(np.arange(60).astype(str), finding, 200, 0)
    table = froc_table(series, np.ones(60, dtype=bool), drawn)
    (axes,) = froc(table).axes
    (line,) = axes.lines
    assert list(line.get_ydata()) == [cell.value for cell in table.curve]
    assert len(axes.collections) == 1
    (axes,) = froc(froc_table(series, np.ones(60, dtype=bool), None)).axes
    assert not axes.collections


def test_the_report_has_a_section_of_places_where_they_were_judged():
    assert "<h2>Where</h2>" not in render(a_report())
    data = a_report()
    table = table_of(*a_study([1.0] * 10 + [7.0] * 6 + [30.0] * 4))
    data = replace(data, metrics=replace(data.metrics, localisation=table))
    page = render(data)
    assert "<h2>Where</h2>" in page and "<td>0.800</td>" in page
    assert "Sensitivity against false points per series" in page


def test_points_are_read_back_from_their_table_with_the_centres_of_the_split(tiny: Place):
    split = load_split(tiny.data, None)
    path = ScoredFolderPaths(tiny.fold().root).points
    points = read_points(path)
    uids = split.held_out(0)
    one = located_of_split(split, uids, [path])
    metrics = read(tiny.fold().metrics("end_to_end"))["localisation"]
    judged = split.series.loc[uids, "localized"].to_numpy() == 1
    again = froc_table(one, judged, None)
    assert again.centres == metrics["froc"]["centres"]
    for rate, cell in metrics["froc"]["sensitivity"].items():
        assert again.sensitivity[rate].value == pytest.approx(cell["value"])
    assert all(points[uid][0].rank == 1 for uid in uids)
    with pytest.raises(InputError, match="have no points of"):
        located_of_split(split, split.training(0), [path])
