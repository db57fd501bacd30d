"""The whole-volume baseline of benchmarks/demo_quality.py trains and scores."""

from benchmarks.whole_volume import train_and_score
from intracranial.compute import choose_compute
from intracranial.config import parse_options
from intracranial.options.stage1 import TrainStage1Options
from intracranial.sampling.series_info import series_infos
from intracranial.splits.split_files import load_split
from intracranial.tasks import RSNA_2025
from tests.tiny_runs import RECIPE, Place


def test_a_net_on_whole_volumes_is_trained_and_scored(tiny: Place):
    options = parse_options(TrainStage1Options, "train_stage1", ["--config", str(RECIPE)])
    split = load_split(tiny.data, None)
    infos = series_infos(split, sorted(split.series.index), RSNA_2025)
    here = (tiny.data, infos)
    compute = choose_compute("cpu", "fp32")
    table = train_and_score(
        options, 2 * options.optimization.batch_size, here, here, RSNA_2025, compute
    )
    assert table.series == len(infos)
    assert 0 <= table.per_label[RSNA_2025.overall].value <= 1
