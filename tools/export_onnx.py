"""Write both networks of a trained run as ONNX files, for programs without torch.

Reads    model/<run>/fold-<k>/: weights and sidecars.
Writes   <out_dir>/fold-<k>/stage1.onnx, stage2.onnx, and onnx.json, which describes their inputs
         and outputs. Batch size and number of slices are dynamic. Each file is compared with torch
         before it is kept.
Needs    onnx, onnxscript and onnxruntime, the extra `onnx` of the package.

    python tools/export_onnx.py --model demo/model/demo --out_dir onnx
"""

from intracranial.surroundings import leave, make_safe

if __name__ == "__main__":
    make_safe()  # before the imports that take seconds

from dataclasses import dataclass
from pathlib import Path

from intracranial.artifacts import FoldPaths
from intracranial.errors import require_packages
from intracranial.runlog import run_tool

PACKAGES = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Options:
    """What to export."""

    model: Path
    """Folder of the run, model/<run>."""

    out_dir: Path
    """Where the files go; those that are there are replaced."""

    fold: tuple[str, ...] = ()
    """Folds, numbers or `final` (default: all that are trained)."""


def main(options: Options) -> int:
    """Export every fold."""
    require_packages("the export", *PACKAGES)
    from intracranial.deployment.onnx_export import export_fold
    from intracranial.inference.run import chosen_folds
    from intracranial.lineage import open_fold

    run = options.model.absolute()
    for fold in chosen_folds(run, options.fold or None):
        paths = FoldPaths(run.parent, run.name, fold)
        out_dir = options.out_dir / paths.root.name
        found = export_fold(open_fold(paths), out_dir)
        differences = ", ".join(f"{stage} {value:.1e}" for stage, value in found.items())
        print(f"wrote {out_dir}; largest difference from torch: {differences}")
    return 0


if __name__ == "__main__":
    leave(run_tool("export_onnx", Options, main, __doc__))
