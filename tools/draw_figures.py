"""Draw the README's figures from a run that has gone through all eight stages.

Reads    the caches, the split, both stages' weights and features of one fold.
Writes   <out_dir>/sampling.png, stage1.png and stage2.png.

The series shown is the held-out one with an aneurysm that stage 2 ranks first.

    python tools/draw_figures.py --config configs/demo.yaml --data_dir demo/data \
        --model_dir demo/model --out_dir content
"""

from intracranial.surroundings import leave, make_safe

if __name__ == "__main__":
    make_safe()  # before the imports that take seconds

from dataclasses import dataclass
from pathlib import Path

from intracranial.artifacts import atomic_path
from intracranial.options.common import ModelOptions
from intracranial.runlog import Record, log, run_stage

DPI = 110


@dataclass(frozen=True, kw_only=True)
class Options(ModelOptions):
    """Which run to draw."""

    out_dir: Path = Path("content")
    """Folder of the pictures."""


def main(options: Options, record: Record) -> int:
    """Draw all three."""
    from intracranial.report.readme_example import best_ranked_example
    from intracranial.report.readme_figures import sampling_figure, stage1_figure, stage2_figure

    example, task = best_ranked_example(options)
    log.info("showing %s: %s", example.uid, example.location)
    for name, figure in (
        ("sampling", sampling_figure(example, task)),
        ("stage1", stage1_figure(example, task)),
        ("stage2", stage2_figure(example, task)),
    ):
        with atomic_path(options.out_dir / f"{name}.png") as temporary:
            figure.savefig(temporary, dpi=DPI, format="png", metadata={"Software": None})
        log.info("wrote %s", options.out_dir / f"{name}.png")
    return 0


if __name__ == "__main__":
    leave(run_stage("draw_figures", Options, main, __doc__))
