"""One end-to-end scoring run: what it needs, whether it is done, what it writes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from intracranial.artifacts import ScoredFolderPaths, write_csv
from intracranial.caching.fingerprints import Fingerprints, look_at
from intracranial.caching.secret import key_identity, read_key
from intracranial.errors import EXIT_DONE, EXIT_REJECTED, InputError
from intracranial.evaluation.end_to_end import (
    Job,
    arrays,
    attach_localizers,
    mean_seconds,
    run_jobs,
)
from intracranial.evaluation.end_to_end_scores import Reference, metrics_of, sample_of, views_of
from intracranial.evaluation.metrics_files import (
    EndToEndMetrics,
    RejectedSeries,
    UnlabelledMetrics,
)
from intracranial.evaluation.points import POINT_COLUMNS, point_row
from intracranial.evaluation.predictions import GROUP_COLUMN, prediction_rows, reference_predictions
from intracranial.evaluation.views import write_views
from intracranial.inference.fold import FoldPredictor
from intracranial.inference.views import check_views
from intracranial.jsonable import to_json
from intracranial.lineage import TrainedFold, require_record
from intracranial.membership import Overlap, open_overlap
from intracranial.options.end_to_end import EvalEndToEndOptions
from intracranial.provenance import Request, digest, file_digest
from intracranial.report.assemble import stage_scores, write_end_to_end_report
from intracranial.runlog import Record, log
from intracranial.sidecar import part
from intracranial.stages.scoring import made_once
from intracranial.statistics.intervals import Settings
from intracranial.tasks import SERIES_COLUMN


@dataclass(frozen=True)
class Recognition:
    """By what scored series are recognised.

    Attributes:
        key: of the data folder that is at hand; None where there is none.
        overlap: what the run knows; None where it holds no `membership.json`.
    """

    key: bytes | None = field(repr=False)
    overlap: Overlap | None


def score_jobs(
    options: EvalEndToEndOptions,
    record: Record,
    jobs: list[Job],
    trained: TrainedFold,
    out: ScoredFolderPaths,
    name: str,
) -> int:
    """Score series unless the same files were scored with the same weights already.

    Args:
        options: of the stage.
        record: of the run.
        jobs: series to score.
        trained: the fold.
        out: where results go.
        name: of the fold or folder, for log and report.

    Returns:
        Exit code 0, or 4 when series were rejected.

    Raises:
        InputError: no series could be read, or the weights do not tell what they were trained on.
        UsageError: there is no such view or step.
    """
    check_views(options.inference.views)
    if options.report:  # it shows them, and what does not fit is said before hours go into scoring
        for stage in ("stage1", "stage2"):
            stage_scores(trained.paths, stage)
    for sidecar in trained.sidecars.values():
        require_record(sidecar)
    jobs = jobs[: options.limit]
    fingerprints = Fingerprints(out.fingerprints)
    reference = _reference(options, trained)
    known = _recognition(options, trained)
    request = _request(options, jobs, trained, fingerprints, reference, known)
    outputs = [out.predictions, out.points, out.views, *([out.report] if options.report else [])]

    def make() -> dict[str, Any]:
        metrics = _score(options, record, jobs, trained, out, name, reference, known)
        fingerprints.save()
        return to_json(metrics)

    content = made_once(out.metrics, out.lock, request, options.overwrite, outputs, make)
    rejected = part(out.metrics, content, "rejected", tuple[RejectedSeries, ...])
    return _exit_code(rejected, options)


def _score(
    options: EvalEndToEndOptions,
    record: Record,
    jobs: list[Job],
    trained: TrainedFold,
    out: ScoredFolderPaths,
    name: str,
    reference: Reference | None,
    known: Recognition,
) -> EndToEndMetrics | UnlabelledMetrics:
    """Score and write everything but the metrics file, whose content is returned."""
    task = trained.task
    predictor = FoldPredictor(
        trained,
        options.device,
        options.inference.precision,
        options.reading.max_series_gib,
        options.inference.views,
        options.inference.compile,
        options.inference.steps,
    )
    log.info("%s: %d series, %s", name, len(jobs), predictor.compute.reason)
    with record.timed(f"detect {name}"):
        results = run_jobs(predictor, jobs, options.readers, options.reading.max_series_seconds)
    record.count(f"series of {name}", len(results.scored))
    record.count(f"mean seconds per series of {name}", mean_seconds(results))
    if not results.scored:
        raise InputError(
            f"none of {len(jobs)} series could be read; the first: {results.rejected[0].message}"
        )
    if options.elsewhere.localizers is not None:
        attach_localizers(results, options.elsewhere.localizers, predictor.pixels.size, task)
    sample = sample_of(results, task, known.key)
    metrics = metrics_of(
        results,
        sample,
        task,
        list(trained.sidecars.values()),
        Settings(options.resamples, options.seed),
        reference,
        held_out=options.elsewhere.series_dir is None,
        overlap=known.overlap,
    )
    keys = [{SERIES_COLUMN: found.uid} for found in results.scored]
    if sample is not None:
        keys = [
            {**key, GROUP_COLUMN: str(group)}
            for key, group in zip(keys, sample.groups, strict=True)
        ]
    columns, rows = prediction_rows(task, keys, *arrays(results))
    write_csv(out.predictions, columns, rows)
    write_views(out.views, task, [found.uid for found in results.scored], views_of(results))
    points = (point_row(one.uid, point) for one in results.scored for point in one.points)
    write_csv(out.points, POINT_COLUMNS, points)
    if options.report:
        with record.timed(f"report {name}"):
            write_end_to_end_report(
                out.report,
                results,
                metrics,
                predictor,
                trained.paths,
                trained.stage1,
                name,
                held_out=options.elsewhere.series_dir is None,
            )
        log.info("wrote %s", out.report)
    if options.elsewhere.series_dir is None:
        assert trained.stage1.split is not None  # as `require_record` has seen
        metrics = replace(metrics, split_hash=trained.stage1.split.hash)
    return metrics


def _reference(options: EvalEndToEndOptions, trained: TrainedFold) -> Reference | None:
    """Held-out predictions to fix calibration and thresholds on, for labelled other series."""
    if options.elsewhere.labels is None:
        return None
    how = {name: options.identity()[name] for name in ("views", "steps")}
    if trained.stage2 is None:
        return None
    found = reference_predictions(trained.paths, trained.stage2.identity, trained.task, how)
    if found is None:
        return None
    path, sample = found
    return Reference(path, f"held-out predictions of {trained.paths.root.name}", sample)


def _recognition(options: EvalEndToEndOptions, trained: TrainedFold) -> Recognition:
    """By what the scored series are recognised; the log says, for other series, what is missing."""
    key = read_key(options.data)
    weights = {stage: sidecar.trained_on for stage, sidecar in trained.sidecars.items()}
    overlap = open_overlap(trained.paths, weights, key)
    if options.elsewhere.series_dir is None:  # the split tells that these are in no training
        return Recognition(key, overlap)
    if overlap is None:
        log.warning(
            "%s is not there: nobody can tell whether these series were in training",
            trained.paths.membership,
        )
    elif overlap.key is None:
        log.warning(
            "%s is not there, or not that of %s: series of the training are recognised by their "
            "UIDs and pixels alone, not by their patients and studies",
            *(options.data.secret_key, trained.paths.membership),
        )
    return Recognition(key, overlap)


def _request(
    options: EvalEndToEndOptions,
    jobs: list[Job],
    trained: TrainedFold,
    fingerprints: Fingerprints,
    reference: Reference | None,
    known: Recognition,
) -> Request:
    folders = {job.uid: job.folder for job in jobs}
    sources = {uid: look_at(folder) for uid, folder in folders.items()}
    inputs = {
        **{stage: sidecar.identity for stage, sidecar in trained.sidecars.items()},
        "series": digest(fingerprints.contents(folders, sources)),
    }
    if options.elsewhere.labels is not None:
        inputs["labels"] = file_digest(options.elsewhere.labels, "Give --labels a table.")
    if options.elsewhere.localizers is not None:
        inputs["localizers"] = file_digest(
            options.elsewhere.localizers, "Give --localizers a table."
        )
    if reference is not None:
        inputs["held-out predictions"] = file_digest(reference.path)
    if options.elsewhere.series_dir is not None:
        path, key = trained.paths.membership, known.key
        inputs["membership"] = "absent" if known.overlap is None else file_digest(path)
        inputs["secret key"] = "absent" if key is None else key_identity(key)
    partial = f"--limit {options.limit}" if options.limit else trained.partial
    return options.request("end_to_end_metrics", inputs, partial)


def _exit_code(rejected: Sequence[RejectedSeries], options: EvalEndToEndOptions) -> int:
    if not rejected or options.allow_rejected:
        return EXIT_DONE
    log.warning("%d series were rejected: see the metrics file", len(rejected))
    return EXIT_REJECTED
