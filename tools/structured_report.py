"""Write DICOM structured reports of what tools/predict.py found, to be stored beside the images.

tools/predict.py --structured_report writes the same at once.

Reads    <results>/series/<name>.json of tools/predict.py, and the headers of the series' images.
Writes   <results>/dicom/<name>.dcm: TID 1500, unverified, in the study of the series. It names the
         patient as the images do, since it could not be filed otherwise.
Skips    a series whose report is of the same prediction and --mark_above, and rejected series.
Needs    highdicom: pip install highdicom, or the extra `dicom` of the package.

    python tools/structured_report.py --results results --series_dir incoming
"""

from intracranial.surroundings import leave, make_safe

if __name__ == "__main__":
    make_safe()  # before the imports that take seconds

from dataclasses import dataclass
from pathlib import Path

from intracranial.errors import EXIT_DONE, EXIT_REJECTED, MissingArtifact, UsageError
from intracranial.runlog import run_tool
from intracranial.stages.predict import ME, PredictPaths, report_module, write_structured_reports


@dataclass(frozen=True)
class Options:
    """What to report."""

    results: Path
    """--out_dir of tools/predict.py."""

    series_dir: Path
    """Folder with one folder per series, those that were predicted."""

    mark_above: float = 0.0
    """Labels with a smaller probability get no point, 0..1."""

    overwrite: bool = False
    """Write again what is there, as a new report."""

    def __post_init__(self) -> None:
        """Check what can be checked without the files."""
        if not 0 <= self.mark_above <= 1:
            raise UsageError(f"--mark_above {self.mark_above}: give 0 to 1")


def main(options: Options) -> int:
    """Report what was predicted."""
    report_module()  # is it there?
    paths = PredictPaths(options.results)
    names = [path.stem for path in sorted(paths.series.glob("*.json"))]
    if not names:
        raise MissingArtifact(f"{paths.series} holds no results: run {ME} first")
    if not options.series_dir.is_dir():
        raise MissingArtifact(f"--series_dir {options.series_dir} is not a folder")
    folders = {name: options.series_dir / name for name in names}
    if not any(folder.is_dir() for folder in folders.values()):
        raise MissingArtifact(
            f"--series_dir {options.series_dir} holds none of the {len(names)} series of "
            f"{paths.series}, such as {names[0]}: give the folder that was predicted"
        )
    counts = write_structured_reports(paths, folders, options.mark_above, options.overwrite)
    print(f"{counts}: {paths.root}")
    return EXIT_REJECTED if counts.failed else EXIT_DONE


if __name__ == "__main__":
    leave(run_tool("structured_report", Options, main, __doc__))
