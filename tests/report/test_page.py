"""The page: complete, self-contained, escaped, and honest about what is missing."""

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from intracranial.evaluation.metrics_files import Gap
from intracranial.metrics import cell, score_table
from intracranial.report.page import MAX_CASES, ShownSlice, write_report
from intracranial.report.projections import project
from intracranial.statistics.comparison import Comparison, Paired, PairedLabel
from intracranial.statistics.intervals import Settings
from intracranial.statistics.suspects import Suspect, SuspectsTable
from intracranial.tasks import RSNA_2025
from tests.evaluation.samples import (
    a_case,
    a_report,
    canonical_directions,
    metrics_of,
    results,
    stage_metrics_of,
)

OPEN_TAG = re.compile(r"<(\w+)")
IMAGE = re.compile(r'<img src="([^"]*)"')


@pytest.fixture
def drawn_page(tmp_path):
    """Write a page and read it back."""

    def write(**changes):
        path = tmp_path / "report.html"
        write_report(path, a_report(**changes))
        return path.read_text(encoding="utf-8")

    return write


@pytest.fixture
def page(drawn_page, monkeypatch):
    """The same without the time that drawing takes, for what is said in words."""
    for name in ("data_uri", "photo_uri"):
        monkeypatch.setattr(f"intracranial.report.page.{name}", lambda figure: "data:,")
    return drawn_page


@pytest.fixture(scope="module")
def full_page(tmp_path_factory):
    """A page with two cases, read only."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    cases = [a_case(), a_case(uid="1.2.3.5", truth=(), findings=(), heat=np.ones((4, 4)))]
    write_report(path, a_report(cases=cases))
    return path.read_text(encoding="utf-8")


def test_the_page_needs_neither_network_nor_script(full_page):
    assert not re.search(r"https?:|//\w|url\(|@import", re.sub(r'"data:[^"]*"', "", full_page))
    assert not {"script", "link", "iframe", "object"} & set(OPEN_TAG.findall(full_page))
    assert "default-src 'none'; img-src data:" in full_page


def test_every_image_is_a_data_uri_that_decodes(full_page):
    sources = IMAGE.findall(full_page)
    assert len(sources) == full_page.count("<img") == 4 + 2 * 2
    for source in sources:
        start, _, content = source.partition(",")
        assert start in ("data:image/png;base64", "data:image/jpeg;base64")
        image = Image.open(io.BytesIO(base64.b64decode(content, validate=True)))
        image.load()
        assert min(image.size) > 100


def test_images_carry_no_text_beside_their_pixels(full_page):
    for source in IMAGE.findall(full_page):
        content = base64.b64decode(source.partition(",")[2])
        assert not Image.open(io.BytesIO(content)).info.get("Software")
        assert b"http" not in content


def test_every_image_has_a_description(full_page):
    assert len(re.findall(r'<img [^>]*alt="[^"]+"', full_page)) == full_page.count("<img")


def test_no_word_of_the_template_is_left_in_the_page(full_page):
    assert not re.search(r"\{[{%]|[%}]\}", re.sub(r'"data:[^"]*"', "", full_page))
    assert "a series with an aneurysm counts as a false negative" in full_page


def test_the_footer_says_what_made_the_page_and_its_limit_once(full_page):
    footer = full_page[full_page.index("<footer>") :]
    assert full_page.lower().count("not for clinical use") == 1
    for words in ("Not for clinical use.", "0123456789abcdef", "resnet18.a1_in1k", "Apache-2.0"):
        assert words in footer


def test_equal_data_gives_equal_bytes(drawn_page):
    assert drawn_page(cases=[a_case()]) == drawn_page(cases=[a_case()])


def test_text_from_files_is_escaped(page):
    evil = '<b onload="x">&'
    text = page(
        title=evil,
        run=evil,
        summary=[evil],
        warnings=[evil],
        weights=evil,
        weights_licence=evil,
        versions={evil: evil},
        subgroups={evil: {evil: a_report().metrics}},
        cases=[a_case(uid=evil, why=evil, modality=evil, top_label=evil, truth=(evil,))],
    )
    assert "<b on" not in text
    assert text.count("&lt;b onload=&#34;x&#34;&gt;&amp;") >= 12


def test_every_figure_stands_beside_its_number_of_series(full_page):
    table = a_report().metrics
    assert f"<b>{table.score.value:.3f}</b>weighted AUC" in full_page
    assert "<b>40</b>series" in full_page
    for label, score in table.per_label.items():
        counts = f"<td>{score.positives}</td><td>{score.negatives}</td>"
        assert f"<tr><td>{label}</td>{counts}<td>{score.value:.3f}<" in full_page


def test_labels_of_one_class_are_named_and_never_shown_as_numbers(page):
    targets, probabilities, modalities = results()
    targets[:, [3, 11]] = 0
    text = page(
        targets=targets,
        metrics=metrics_of(targets, probabilities, modalities),
        subgroups=metrics_of(targets, probabilities, modalities).subgroups,
    )
    assert "one class only: Right Supraclinoid Internal Carotid Artery, Basilar Tip." in text
    assert "nan" not in re.sub(r'"data:[^"]*"', "", text).lower()
    assert "None" not in re.sub(r'"data:[^"]*"', "", text)


def test_a_fold_without_any_aneurysm_has_no_score_and_says_so(page):
    targets, probabilities, modalities = results()
    targets[:] = 0
    text = page(targets=targets, metrics=metrics_of(targets, probabilities, modalities))
    assert "<b>\N{EN DASH}</b>weighted AUC" in text
    assert "there is no weighted AUC" in text


def test_series_without_labels_have_no_scores(page):
    text = page(
        targets=None, metrics=None, subgroups={}, stage1_held_out=None, stage1_training=None
    )
    assert "No labels were given" in text
    assert "ROC" not in text


def test_every_figure_of_a_stage_has_its_interval_and_the_gap_its_sign(page):
    targets, probabilities, _ = results()
    better = score_table(RSNA_2025, targets, probabilities + targets)
    held_out = a_report().metrics
    span = "{low:.3f} to {high:.3f}".format(**vars(held_out.score))
    figures = {"score": cell(0.25, (0.125, 0.375)), "Aneurysm Present": cell(-0.5)}
    gap = Gap(labels=RSNA_2025.labels, figures=figures)
    text = page(stage2_training=better, stage2_held_out=stage_metrics_of(held_out, gap=gap))
    assert f'<span class="under">{span}</span>' in text
    assert '<td>+0.250<span class="under">+0.125 to +0.375</span></td>' in text
    assert '<td>\N{MINUS SIGN}0.500<span class="under"></span></td>' in text
    assert "one stack of slices; 40 training and 40 held-out spots" in text


def test_stage_1_alone_is_compared_with_both_stages_on_the_same_series(page):
    table = a_report().metrics
    assert "Stage 1 alone against both stages" not in page()
    paired = replace(Paired.of(0.5, 0.625), difference=cell(0.125, (-0.25, 0.5)), p=0.0625)
    of_label = {"positives": 3, "negatives": 37, "no_interval": None}
    gain = Comparison(
        score=paired,
        others_mean=paired,
        per_label={"Aneurysm Present": PairedLabel(**vars(Paired.of(None, None)), **of_label)},
        left_out=(),
        rare=(),
        only_one_has=(),
        series=40,
        groups=40,
        runs=("stage 1, maximum", "both stages"),
        optimistic={},
        intervals=Settings(),
    )
    text = page(metrics=replace(table, gain_over_stage1=gain), subgroups={})
    assert '<td class="name">Stage 1, maximum<span' in text
    span = '<span class="under">\N{MINUS SIGN}0.250 to +0.500</span>'
    assert text.count(f"<td>+0.125{span}</td><td>0.062</td>") == 2
    assert "paired" in text


def test_a_figure_without_an_interval_says_why(page):
    targets, probabilities, modalities = results()
    targets[:, [3, 11]] = 0
    targets[:2, 11] = 1
    text = page(targets=targets, metrics=metrics_of(targets, probabilities, modalities))
    name = "Right Supraclinoid Internal Carotid Artery"
    reason = '<span class="under">{}</span></td>'.format
    counted = r"<td>\d+</td><td>\d+</td><td>"
    for label, figure, why in (
        (name, "\N{EN DASH}", "one class only"),
        ("Basilar Tip", r"0\.\d+", "too few patients"),
    ):
        assert re.search(rf"<td>{label}</td>{counted}{figure}{reason(why)}", text)


def test_contradicted_labels_are_listed_in_words(page):
    negative = Suspect("1.2.3", "Basilar Tip", False, 0.9, 4, 5)
    positive = Suspect("1.2.4", "Basilar Tip", True, 0.01, 30, 31)
    metrics, none = a_report().metrics, SuspectsTable((), ())
    text = page(metrics=replace(metrics, suspects=SuspectsTable((negative,), (positive,))))
    assert "as high as 4 of 5 with it" in text
    assert "as low as 30 of 31 without it" in text
    assert "No label is contradicted" not in text
    assert "No label is contradicted" in page(metrics=replace(metrics, suspects=none))
    assert "Labels to look at again" not in page(targets=None, metrics=None, subgroups={})


def test_a_missing_learning_curve_is_said_in_words(page):
    assert "No training log was found." in page(stage1_log=(), stage2_log=())
    assert "No training log was found." not in page(stage2_log=())


def test_warnings_stand_above_the_figures(page):
    text = page(warnings=["selected on this fold", "2 series were in training"])
    assert text.index("selected on this fold") < text.index("<h2>")
    assert "2 series were in training" in text


def test_a_page_without_cases_says_so(page):
    assert "No series is shown." in page()


def test_a_case_says_what_is_labelled_and_what_is_predicted(full_page):
    assert "False negative: 3 of 20 series without an aneurysm score as high" in full_page
    assert "slice 4: Basilar Tip" in full_page
    assert "<dd>no aneurysm labelled</dd>" in full_page
    assert "<strong>0.250</strong>" in full_page
    assert "blue circle: labelled centre, dotted where it is on another slice" in full_page


def test_a_case_of_unknown_geometry_says_that_its_sides_are_not_marked(page):
    text = page(cases=[a_case(plane="unknown", directions=None, pixel_spacing=None)])
    assert "plane not known" in text
    assert "left and right may be exchanged" in text


def test_no_series_at_all_still_gives_a_page(page):
    nothing = np.zeros((0, 14))
    text = page(
        targets=nothing,
        probabilities=nothing,
        modalities=[],
        metrics=metrics_of(nothing, nothing, []),
        subgroups={},
    )
    assert "<b>0</b>series" in text


def test_intervals_stand_beside_their_figures_and_labels_without_one_are_named(page):
    targets, probabilities, modalities = results()
    targets[:, 0] = 0
    targets[:3, 0] = 1
    metrics = metrics_of(targets, probabilities, modalities)
    text = page(targets=targets, metrics=metrics)
    low, high = metrics.score.low, metrics.score.high
    assert text.count(f"{low:.3f} to {high:.3f}") == 3  # in a tile and in both tables
    assert "100 resamples of 40 patients" in text
    assert "fewer than 5 patients have them: Left Infraclinoid Internal Carotid Artery" in text
    assert "optimistic" not in text
    metrics = metrics_of(targets, probabilities, modalities, "this fold")
    assert "optimistic: the weights were selected on this fold" in page(metrics=metrics)


def test_calibration_is_shown_with_what_it_was_fitted_on_and_what_is_uncalibrated(page):
    targets, probabilities, modalities = results(rows=200)
    targets[20:, 11] = 0
    metrics = metrics_of(targets, probabilities, modalities)
    text = page(
        targets=targets, probabilities=probabilities, modalities=modalities, metrics=metrics
    )
    assert 'alt="Observed share against predicted probability"' in text
    assert "fitted on other patients among those scored, in 5 parts" in text
    assert "too few patients have them to fit on: Basilar Tip." in text
    after = metrics.calibration.per_label["Aneurysm Present"].after
    for figure in (after.brier, after.error):
        low, high = figure.low, figure.high
        shown = f'<td>{figure.value:.3f}<span class="under">{low:.3f} to {high:.3f}</span></td>'
        assert shown in text


def test_more_cases_than_a_page_takes_are_refused(page):
    with pytest.raises(ValueError, match="at most"):
        page(cases=[a_case()] * (MAX_CASES + 1))


def test_rows_that_do_not_belong_together_are_refused(page):
    with pytest.raises(ValueError, match="40 rows"):
        page(modalities=["CTA"])


def test_a_page_with_every_case_stays_below_ten_megabytes(drawn_page):
    generator = np.random.default_rng(0)
    noise = generator.random((512, 512), dtype=np.float32) * 5
    directions = canonical_directions()
    volume = generator.random((64, 512, 512), dtype=np.float32) * 5
    case = a_case(
        slices=tuple(ShownSlice(i, noise, (200.0, 200.0), noise[:56, :56]) for i in (3, 4, 5)),
        pixel_spacing=(0.4, 0.4),
        projections=project(volume, directions, (2.0, 0.4, 0.4), (200.0, 200.0, 4.0)),
    )
    without, one = len(drawn_page()), len(drawn_page(cases=[case]))
    assert without + MAX_CASES * (one - without) < 10e6


def test_figures_of_other_series_are_not_called_held_out(page):
    table = a_report().metrics
    text = page(fold="incoming", other_series=True, stage2_held_out=table)
    assert "DICOM folder of a series; 40 other series" in text
    assert "stored features of a series; 40 held-out series" in text
    assert "<th>held-out or other</th>" in text
    assert "other series" not in page()


def test_a_page_without_training_figures_has_no_columns_for_them(page):
    text = page(stage1_training=None, fold_pages={"0": "../fold-0/report.html"})
    assert "<th>training</th>" not in text and "<th>gap</th>" not in text
    assert "Training figures and gaps are on the pages of the folds." in text
    assert "<th>training</th>" in page()


def test_the_tiles_say_when_rare_locations_make_an_interval_too_narrow(page):
    targets, probabilities, modalities = results()
    targets[:, 0] = 0
    targets[:3, 0] = 1
    metrics = metrics_of(targets, probabilities, modalities)
    rare = len([name for name in metrics.rare if name in RSNA_2025.locations])
    text = page(targets=targets, metrics=metrics)
    assert text.count(f", too narrow: {rare} of 13 locations are rare</span>") == 2
