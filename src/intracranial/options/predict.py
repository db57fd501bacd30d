"""Options of tools/predict.py."""

from dataclasses import dataclass
from pathlib import Path

from intracranial.artifacts import FINAL_FOLD
from intracranial.errors import UsageError
from intracranial.options.common import Precision, check_above_zero


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Predict series with a trained run."""

    model: Path
    """Folder of the run, model/<run>; nothing else of the training is needed."""

    out_dir: Path
    """Where results go; a rerun resumes there."""

    series: tuple[Path, ...] = ()
    """Folders of one series each."""

    series_dir: Path | None = None
    """A folder with one folder per series."""

    fold: tuple[str, ...] = ()
    """Folds to average, numbers or `final` (default: all that are trained)."""

    views: tuple[str, ...] = ()
    """Test-time augmentation: flip, reverse, crop, crop90; each takes as long as the plain view."""

    steps: tuple[int, ...] = ()
    """Steps of stage 1 to use, of those it was trained with; each is a pass (default: all)."""

    report: bool = False
    """Write a page with pictures for every series."""

    structured_report: bool = False
    """Write a DICOM structured report of every series, to be stored beside its images; needs
    highdicom."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:INDEX."""

    precision: Precision = "auto"
    """Precision of stage 1: auto, bf16, fp16 or fp32."""

    num_workers: int = 2
    """Processes that read series ahead; with 0 no time limit holds."""

    max_series_gib: float = 8.0
    """Largest series in GiB of decoded pixels; larger ones are rejected unread."""

    max_series_seconds: float = 600.0
    """Seconds that reading one series may take; then it is rejected."""

    overwrite: bool = False
    """Predict again what is there."""

    allow_rejected: bool = False
    """End with exit code 0 although series were rejected."""

    @property
    def record_dir(self) -> Path:
        """Folder for the run record and the log file."""
        return self.out_dir / "runs"

    def __post_init__(self) -> None:
        """Check what can be checked without the files."""
        if bool(self.series) == (self.series_dir is not None):
            raise UsageError("give either --series FOLDER ... or --series_dir FOLDER")
        if self.num_workers < 0:
            raise UsageError(f"--num_workers {self.num_workers}: give 0 or more")
        check_above_zero("--max_series_gib", self.max_series_gib)
        check_above_zero("--max_series_seconds", self.max_series_seconds)
        wrong = [fold for fold in self.fold if not (fold.isdigit() or fold == FINAL_FOLD)]
        if wrong:
            raise UsageError(f"--fold {wrong[0]}: give numbers or `final`")
