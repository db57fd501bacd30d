"""Options of eval_end_to_end.py."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intracranial.errors import UsageError
from intracranial.marks import Setting
from intracranial.options.common import Precision, check_above_zero
from intracranial.options.evaluation import EvaluationOptions


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """Series from elsewhere, in place of the held-out fold."""

    series_dir: Setting[Path | None] = None
    """Score the series in this folder (one folder each) in place of the held-out fold."""

    out_dir: Setting[Path | None] = None
    """Where results of --series_dir go."""

    labels: Setting[Path | None] = None
    """Labels of --series_dir, a table like train.csv."""

    localizers: Setting[Path | None] = None
    """Aneurysm centres of --series_dir, a table like train_localizers.csv."""

    def __post_init__(self) -> None:
        """Check flags against each other."""
        if (self.series_dir is None) != (self.out_dir is None):
            raise UsageError("--series_dir and --out_dir go together")
        if self.series_dir is None and (self.labels or self.localizers):
            raise UsageError("--labels and --localizers go with --series_dir")
        if self.localizers and not self.labels:
            raise UsageError("--localizers needs --labels")


@dataclass(frozen=True, kw_only=True)
class Inference:
    """How the networks are applied."""

    views: tuple[str, ...] = ()
    """Test-time augmentation: flip, reverse, crop, crop90; each takes as long as the plain view,
    and what each adds is in the metrics and the report."""

    steps: tuple[int, ...] = ()
    """Steps of stage 1 to use, of those it was trained with; each is a pass (default: all)."""

    precision: Precision = "auto"
    """Precision of stage 1: auto, bf16, fp16 or fp32."""

    compile: Setting[bool] = False
    """Compile stage 1 with torch.compile: a minute at the start, faster on a GPU."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Which series are too large or too slow."""

    max_series_gib: float = 8.0
    """Largest series in GiB of decoded pixels; larger ones are rejected unread."""

    max_series_seconds: Setting[float] = 600.0
    """Time limit for reading one series, in seconds; slower ones are rejected. Ignored with
    --num_workers 0. Changing it alone does not rescore: add --overwrite."""

    def __post_init__(self) -> None:
        """Check the limits."""
        check_above_zero("--max_series_gib", self.max_series_gib)
        check_above_zero("--max_series_seconds", self.max_series_seconds)


@dataclass(frozen=True, kw_only=True)
class EvalEndToEndOptions(EvaluationOptions):
    """Run DICOM folders through both stages and score the result."""

    report: Setting[bool] = True
    """Write report.html."""

    allow_rejected: Setting[bool] = False
    """End with exit code 0 although series were rejected."""

    limit: int | None = None
    """Score only the first N series (a trial; the figures are marked as partial)."""

    elsewhere: Elsewhere = Elsewhere()
    inference: Inference = Inference()
    reading: Reading = Reading()

    @property
    def record_dir(self) -> Path:
        """Folder for the run record and the log file: a model folder may be read-only."""
        out_dir = self.elsewhere.out_dir
        return out_dir / "runs" if out_dir is not None else super().record_dir

    def identity(self) -> dict[str, Any]:
        """The options that change the result; the order of views and steps does not."""
        sets = {
            "views": sorted(set(self.inference.views)),
            "steps": sorted(set(self.inference.steps)),
        }
        return {**super().identity(), **sets}

    def __post_init__(self) -> None:
        """Check flags against each other."""
        super().__post_init__()
        if self.elsewhere.series_dir is not None and self.fold == "all":
            raise UsageError("--series_dir needs one --fold (or --fold final)")
