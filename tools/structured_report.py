"""Write DICOM structured reports of what tools/predict.py found, to be stored beside the images.

Reads    <results>/series/<name>.json of tools/predict.py, and the headers of the series' images.
Writes   <results>/dicom/<name>.dcm: TID 1500, unverified, in the study of the series. It names the
         patient as the images do, since it could not be filed otherwise.
Skips    a series whose report is of the same prediction, and rejected series.
Needs    highdicom: pip install highdicom, or the extra `dicom` of the package.

    python tools/structured_report.py --results results --series_dir incoming
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from src.artifacts import atomic_open, read_json
from src.errors import (
    EXIT_DONE,
    EXIT_REJECTED,
    InputError,
    MissingArtifact,
    PipelineError,
    UsageError,
)
from src.predict import ME, PredictPaths


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
    try:
        from src.inference.structured_report import read_headers, structured_report
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is missing: pip install highdicom") from None

    paths = PredictPaths(options.results)
    files = sorted(paths.series.glob("*.json"))
    if not files:
        raise MissingArtifact(f"{paths.series} holds no results: run {ME} first")
    written = there = failed = 0
    for path in files:
        result = read_json(path, ME)
        if result["status"] == "rejected":
            continue
        report = paths.root / "dicom" / f"{path.stem}.dcm"
        if not options.overwrite and is_of(report, result["identity"]):
            there += 1
            continue
        try:
            headers = read_headers(
                options.series_dir / path.stem, result["slices"]["SOPInstanceUID"]
            )
            dataset = structured_report(result, headers, options.mark_above)
        except InputError as error:
            print(f"no report: {error}", file=sys.stderr)
            failed += 1
            continue
        with atomic_open(report, "wb") as file:
            dataset.save_as(file, enforce_file_format=True)
        written += 1
    print(f"{written} reports written, {there} were there, {failed} not possible: {paths.root}")
    return EXIT_REJECTED if failed else EXIT_DONE


def is_of(report: Path, identity: str) -> bool:
    """Whether a report is there and of this prediction."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        return pydicom.dcmread(report).get("SoftwareVersions") == identity
    except (FileNotFoundError, InvalidDicomError):
        return False


if __name__ == "__main__":
    try:
        sys.exit(main(tyro.cli(Options, description=__doc__, use_underscores=True)))
    except PipelineError as error:
        print(f"structured_report.py: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
