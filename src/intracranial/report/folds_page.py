"""The report over all folds: pooled figures, each fold beside the others, no cases."""

from pathlib import Path

from intracranial.artifacts import ALL_FOLDS, ScoredFolderPaths
from intracranial.evaluation.all_folds import Pooled
from intracranial.evaluation.metrics_files import (
    EndToEndMetricsOfAllFolds,
    Evaluation,
    read_metrics_of_all_folds,
)
from intracranial.lineage import open_stage1
from intracranial.options.evaluation import EvaluationOptions
from intracranial.provenance import versions
from intracranial.report.assemble import summary_of, warnings_of
from intracranial.report.page import ReportData, write_report


def write_folds_report(options: EvaluationOptions, pooled: Pooled) -> Path:
    """Write `model/<run>/all/report.html`; it links to the pages of the folds that have one.

    Args:
        options: for the run's paths.
        pooled: what `evaluation.all_folds.summarise_folds` found of both stages.

    Returns:
        The page's path.

    Raises:
        MissingArtifact: the weights of fold 0 are gone.
    """
    table, sample = pooled.table, pooled.sample
    assert isinstance(table, EndToEndMetricsOfAllFolds)
    paths = options.fold_paths(ALL_FOLDS)
    stage1 = open_stage1(options.fold_paths(0), {})
    page = ScoredFolderPaths(paths.root).report
    pages = {}
    for fold in range(table.folds):
        one = ScoredFolderPaths(options.fold_paths(fold).root).report
        if one.is_file():
            pages[str(fold)] = f"../{one.parent.name}/{one.name}"

    def stage(name: str) -> Evaluation | None:
        path = paths.metrics(name)
        return read_metrics_of_all_folds(path, name) if path.exists() else None

    write_report(
        page,
        ReportData(
            title=pooled.task.title,
            run=paths.run,
            fold=ALL_FOLDS,
            task=pooled.task,
            targets=sample.targets,
            probabilities=sample.probabilities,
            modalities=sample.traits["modality"].tolist(),
            summary=summary_of(table, f"all {table.folds} folds, each by its own model,"),
            warnings=warnings_of(table, table.partial_folds.values()),
            metrics=table,
            subgroups=table.subgroups,
            stage1_held_out=stage("stage1"),
            stage2_held_out=stage("stage2"),
            fold_pages=pages,
            versions=versions(),
            split_hash=table.split_hash or "",
            weights=stage1.model.backbone,
            weights_licence=stage1.weights_licence,
        ),
    )
    return page
