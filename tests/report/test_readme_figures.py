"""The README's figures are drawn from arrays and show something."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from intracranial.report.readme_figures import (
    Example,
    sampling_figure,
    stage1_figure,
    stage2_figure,
)
from intracranial.tasks import RSNA_2025
from tests.evaluation.samples import canonical_directions


@pytest.fixture
def example() -> Example:
    rng = np.random.default_rng(0)
    n, edge, cells = 20, 64, 8
    return Example(
        uid="1.2.3",
        directions=canonical_directions(),
        volume=rng.random((n, edge, edge)).astype(np.float32),
        positive=9,
        point=(30.0, 20.0),
        location="Left Middle Cerebral Artery",
        mirrored_location="Right Middle Cerebral Artery",
        negatives=np.array([0, 1, 2, 17, 18, 19]),
        radius=5,
        step=1,
        stack=rng.random((3, edge, edge)).astype(np.float32) * 5,
        mirrored=rng.random((3, edge, edge)).astype(np.float32) * 5,
        target=rng.random((cells, cells)),
        input_point=(30.0, 20.0),
        heatmap=rng.random((cells, cells)),
        slice_labels=rng.random(14),
        stage1_curve=rng.random(n),
        stage2_curve=rng.random(n),
        features=rng.random((n, 32)).astype(np.float32),
        series=rng.random(14),
    )


@pytest.mark.parametrize("which", ["sampling", "stage1", "stage2"])
def test_each_figure_has_its_width_and_is_not_blank(example: Example, which: str) -> None:
    figure = {
        "sampling": lambda: sampling_figure(example, RSNA_2025),
        "stage1": lambda: stage1_figure(example, RSNA_2025),
        "stage2": lambda: stage2_figure(example, RSNA_2025),
    }[which]()
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100, format="png")
    picture = np.asarray(Image.open(buffer).convert("L"))
    assert picture.shape[1] == 1000
    assert picture.std() > 20


@pytest.mark.parametrize(
    ("slices", "step", "names"),
    [
        (1, 1, ["slice t (channel)"]),
        (3, 1, ["slice t-1 (channel)", "slice t (channel)", "slice t+1 (channel)"]),
        (5, 2, [f"slice t{away} (channel)" for away in ("-4", "-2", "", "+2", "+4")]),
    ],
)
def test_every_slice_of_a_stack_is_named(
    example: Example, slices: int, step: int, names: list[str]
) -> None:
    stack = np.zeros((slices, 64, 64), dtype=np.float32)
    figure = sampling_figure(replace(example, stack=stack, mirrored=stack, step=step), RSNA_2025)
    found = [axes.get_title() for axes in figure.subfigs[1].axes]
    assert found[:slices] == names and len(found) == slices + 2


def test_labels_are_abbreviated_as_the_field_does() -> None:
    assert RSNA_2025.short_name("Left Supraclinoid Internal Carotid Artery") == "L supracl. ICA"
    assert RSNA_2025.short_name("Basilar Tip") == "Basilar Tip"
