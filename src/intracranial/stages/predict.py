"""Predict one series or a folder of series with a trained run.

Reads:   model/<run> alone, and DICOM folders.
Writes:  out_dir/series/<folder>.json for each series as soon as it is ready: probabilities, points,
         the curves over the slices, or why it was rejected; with --report out_dir/pages/ too. At
         the end predictions.csv (a row per series) and points.csv (a row per point) from them; with
         --structured_report also out_dir/dicom/<folder>.dcm, TID 1500, unverified, in the study of
         the series. It names the patient as the images do, since it could not be filed otherwise.
Skips:   series that are there already with the same model and the same files, so that a run that
         was stopped resumes. Series that were stopped by a limit or by the machine are tried again.

One series:  intracranial predict --model model/demo --series path/to/series --out_dir results
A folder:    intracranial predict --model model/demo --series_dir incoming --out_dir results \
                 --report
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from intracranial.artifacts import LOCK_SUFFIX, read_json, remove_temporaries, write_csv, write_json
from intracranial.errors import (
    EXIT_DONE,
    EXIT_REJECTED,
    InputError,
    MissingArtifact,
    UsageError,
    require_packages,
)
from intracranial.options.predict import PredictOptions
from intracranial.processes.locks import only_one
from intracranial.provenance import VERSION, digest
from intracranial.runlog import Record, log, progress
from intracranial.tasks import SERIES_COLUMN, Task

if TYPE_CHECKING:
    from intracranial.inference.fold import Detection
    from intracranial.inference.run import Prediction, Predictor

ME = "tools/predict.py"

LIMITED = ("timed_out", "too_large", "worker_died", "not_finite")
"""Reasons that another machine or other limits may not give."""

CURVE_DIGITS = 5
"""Decimals of the probabilities of single slices."""


@dataclass(frozen=True)
class PredictPaths:
    """Files under --out_dir."""

    root: Path

    @property
    def series(self) -> Path:
        """Folder of the results of single series."""
        return self.root / "series"

    def result(self, name: str) -> Path:
        """Result of one series."""
        return self.series / f"{name}.json"

    def page(self, name: str) -> Path:
        """Page of one series."""
        return self.root / "pages" / f"{name}.html"

    def structured_report(self, name: str) -> Path:
        """DICOM structured report of one series."""
        return self.root / "dicom" / f"{name}.dcm"

    @property
    def lock(self) -> Path:
        """Tells that a command predicts into this folder; see `processes.locks`."""
        return self.root / f".predict{LOCK_SUFFIX}"

    @property
    def predictions(self) -> Path:
        """One row per series."""
        return self.root / "predictions.csv"

    @property
    def points(self) -> Path:
        """One row per point."""
        return self.root / "points.csv"


@dataclass
class ReportCounts:
    """What became of the structured reports."""

    written: int = 0
    there: int = 0
    failed: int = 0

    def __str__(self) -> str:
        """The counts in words."""
        return (
            f"{self.written} reports written, {self.there} were there, {self.failed} not possible"
        )


@dataclass(frozen=True)
class Pending:
    """A series to predict.

    `identity` says with which program and model and from which files; `changed` that results of
    others, or none, are there.
    """

    name: str
    folder: Path
    identity: str
    changed: bool


def main(options: PredictOptions, record: Record) -> int:
    """Predict what is missing, then write the tables."""
    folders = series_folders(options)
    if options.structured_report:
        report_module()  # is it there?
    paths = PredictPaths(options.out_dir)
    with only_one(paths.lock, f"the predictions in {paths.root}"):
        return predict(options, record, folders, paths)


def predict(
    options: PredictOptions, record: Record, folders: dict[str, Path], paths: PredictPaths
) -> int:
    """`main`, when no other command writes into the same folder."""
    from intracranial.inference.run import Predictor

    with record.timed("load"):
        predictor = Predictor(
            options.model,
            options.fold or None,
            device=options.device,
            precision=options.precision,
            num_workers=options.num_workers,
            max_series_gib=options.max_series_gib,
            max_series_seconds=options.max_series_seconds,
            views=options.views,
            steps=options.steps,
        )
    log.info("folds %s: %s", ", ".join(predictor.folds), predictor.compute.reason)
    if options.structured_report:
        report_module().check_sites(predictor.task)
    remove_temporaries(paths.series)
    with record.timed("predict"):
        done = _predict(options, predictor, folders, paths)
    counts = _write_tables(paths, list(folders), predictor.task)
    record.count("predicted now", done)
    record.count("series", counts)
    log.info(
        "%d series, of which %d were there already and %d are rejected: %s",
        len(folders),
        len(folders) - done,
        counts["rejected"],
        paths.predictions,
    )
    lacking = counts["rejected"]
    if options.structured_report:
        with record.timed("structured reports"):
            reports = write_structured_reports(paths, folders, overwrite=options.overwrite)
        record.count("structured reports", asdict(reports))
        log.info("structured reports: %s", reports)
        lacking += reports.failed
    return EXIT_REJECTED if lacking and not options.allow_rejected else EXIT_DONE


def series_folders(options: PredictOptions) -> dict[str, Path]:
    """Folder of each series by its name.

    Raises:
        UsageError: two folders have one name.
        MissingArtifact: --series_dir is not there.
        InputError: it holds no folders.
    """
    if options.series_dir is None:
        found: dict[str, Path] = {}
        for folder in map(Path.absolute, options.series):
            if folder.name in found:
                raise UsageError(f"--series {folder} and {found[folder.name]} have one name")
            found[folder.name] = folder
        return found
    if not options.series_dir.is_dir():
        raise MissingArtifact(f"--series_dir {options.series_dir} is not a folder")
    found = {path.name: path for path in sorted(options.series_dir.iterdir()) if path.is_dir()}
    if not found:
        raise InputError(
            f"--series_dir {options.series_dir} holds no folders; for one series give --series"
        )
    return found


def _predict(
    options: PredictOptions,
    predictor: "Predictor",
    folders: dict[str, Path],
    paths: PredictPaths,
) -> int:
    """Predict and write every series that is not there; returns how many were."""
    from intracranial.caching.read_ahead import Rejected

    jobs, ahead = itertools.tee(_pending(options, predictor, folders, paths))
    outcomes = predictor.detect_many(job.folder for job in ahead)
    done = 0
    for job, outcome in progress(zip(jobs, outcomes, strict=True), len(folders), "predicting"):
        # What was made from the old result must not lie beside the new one.
        paths.page(job.name).unlink(missing_ok=True)
        if job.changed:
            paths.structured_report(job.name).unlink(missing_ok=True)
        if isinstance(outcome, Rejected):
            log.warning("rejected %s: %s (%s)", job.name, outcome.message, outcome.code)
            content = {"status": "rejected", "reason": outcome.code, "words": outcome.message}
        else:
            content = result_content(predictor.summary(outcome), predictor.task)
            if options.report:
                _write_page(paths.page(job.name), outcome, predictor)
        content |= {
            "folder": job.name,
            "identity": job.identity,
            "algorithm_version": algorithm_version(predictor),
        }
        write_json(paths.result(job.name), content)
        done += 1
    return done


def _pending(
    options: PredictOptions,
    predictor: "Predictor",
    folders: dict[str, Path],
    paths: PredictPaths,
) -> Iterator[Pending]:
    """Series that are not predicted yet, found one by one while the others run."""
    from intracranial.caching.fingerprints import look_at

    for name, folder in folders.items():
        made_by = algorithm_version(predictor)
        identity = digest([made_by, options.precision, look_at(folder).stat])
        old = _old_result(paths.result(name))
        changed = old.get("identity") != identity
        kept = not changed and old.get("reason") not in LIMITED
        drawn = not options.report or old.get("status") == "rejected" or paths.page(name).exists()
        if options.overwrite or not (kept and drawn):
            yield Pending(name, folder, identity, changed)


def algorithm_version(predictor: "Predictor") -> str:
    """Version of the program, and identity of the model and its views, of at most 64 characters."""
    return f"{VERSION} model {predictor.identity}"


def _old_result(path: Path) -> dict[str, Any]:
    """What an earlier run wrote; nothing where it wrote nothing, or what cannot be read."""
    try:
        return read_json(path, ME)
    except InputError:
        return {}


def result_content(found: "Prediction", task: Task) -> dict[str, Any]:
    """A prediction as JSON: equal series give equal bytes, so without times."""
    curves = found.slice_probabilities.round(CURVE_DIGITS).T.tolist()
    return {
        SERIES_COLUMN: found.uid,
        "status": found.status,
        "modality": found.modality,
        "notes": list(found.notes),
        "task": task.record(),
        "labels": list(found.labels),
        "probabilities": dict(zip(found.labels, found.probabilities.tolist(), strict=True)),
        "points": [
            {
                "location": point.label,
                "probability": point.probability,
                "score": point.score,
                "rank": point.rank,
                "slice": point.index,
                "SOPInstanceUID": point.sop_uid,
                "frame": point.frame,
                "x": round(point.x, 2),
                "y": round(point.y, 2),
                "mm": None if point.mm is None else [round(value, 2) for value in point.mm],
            }
            for point in found.points
        ],
        "slices": {
            "SOPInstanceUID": list(found.sop_uids),
            "frame": found.frames.tolist(),
            "probabilities": dict(zip(found.labels, curves, strict=True)),
        },
    }


def _write_page(path: Path, found: "Detection", predictor: "Predictor") -> None:
    from intracranial.report.series_page import write_series_page

    write_series_page(path, found, predictor)


def report_module() -> ModuleType:
    """The module of structured reports, which is imported only where they are asked for.

    Raises:
        MissingPackage: highdicom is not installed.
    """
    require_packages("a structured report", "highdicom")
    from intracranial.deployment import structured_report

    return structured_report


def write_structured_reports(
    paths: PredictPaths,
    folders: Mapping[str, Path],
    mark_above: float = 0.0,
    overwrite: bool = False,
) -> ReportCounts:
    """Write the structured report of each predicted series that has none of its prediction.

    Args:
        paths: where the results are.
        folders: of the series by the names of their results; rejected ones have no report.
        mark_above: labels with a smaller probability get no point.
        overwrite: write again what is there.

    Returns:
        How many were written; those that failed are logged with the reason.

    Raises:
        MissingPackage: highdicom is not installed.
        OSError: a report cannot be written.
    """
    reports = report_module()
    counts = ReportCounts()
    for name, folder in folders.items():
        path = paths.structured_report(name)
        try:
            result = read_json(paths.result(name), ME)
            if result["status"] == "rejected":
                continue
            if not overwrite and reports.is_report_of(path, result, mark_above):
                counts.there += 1
                continue
            reports.write_structured_report(path, result, folder, mark_above)
        except InputError as error:
            log.warning("no structured report of %s: %s", name, error)
            counts.failed += 1
        except OSError:  # the next one could not be written either
            raise
        except Exception as error:  # its words may quote the header: the patient's name, a date
            log.warning(
                "no structured report of %s: its result or its headers are damaged (%s); predict "
                "it again with %s --overwrite",
                *(name, type(error).__name__, ME),
            )
            counts.failed += 1
        else:
            counts.written += 1
    return counts


def _write_tables(paths: PredictPaths, names: Sequence[str], task: Task) -> dict[str, int]:
    """predictions.csv and points.csv, read from one result at a time; counts by status."""
    columns = ["folder", SERIES_COLUMN, "status", "reason", "words", "notes", *task.labels]
    counts = {"read": 0, "partial": 0, "rejected": 0}

    def rows() -> Iterator[dict[str, Any]]:
        for name in names:
            content = read_json(paths.result(name), ME)
            counts[content["status"]] += 1
            yield {
                **{column: content.get(column) for column in columns},
                "notes": ";".join(content.get("notes", ())),  # as in train_meta.csv
                **content.get("probabilities", {}),
            }

    def points() -> Iterator[dict[str, Any]]:
        for name in names:
            content = read_json(paths.result(name), ME)
            for point in content.get("points", ()):
                mm = point["mm"] or (None, None, None)
                where = dict(zip(("x_mm", "y_mm", "z_mm"), mm, strict=True))
                yield {SERIES_COLUMN: content[SERIES_COLUMN], **point, **where}

    from intracranial.evaluation.points import POINT_COLUMNS

    write_csv(paths.predictions, columns, rows())
    write_csv(paths.points, POINT_COLUMNS, points())
    return counts
