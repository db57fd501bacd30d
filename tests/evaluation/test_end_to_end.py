"""What is known of a series before it is scored: its labels and its findings."""

from pathlib import Path

from intracranial.evaluation.end_to_end import held_out_jobs
from intracranial.tasks import RSNA_2025
from tests.sampling.fold_data import cohort
from tests.splits.test_hard_negatives import split_of

BASILAR = "Basilar Tip"


def test_a_held_out_series_has_the_findings_of_the_split_by_slice(tmp_path: Path):
    data = cohort(tmp_path / "data")
    data.add_series("9.1", BASILAR, n=40)
    data.mark("9.1", 30, BASILAR)
    data.mark("9.1", 4, "")  # something is there, and nobody has said what
    split = split_of(data.write())
    jobs = {
        job.uid: job
        for fold in range(split.folds)
        for job in held_out_jobs(split, fold, data.paths, RSNA_2025)
    }
    assert sorted(jobs) == sorted(split.series.index)
    assert [(one.index, one.location) for one in jobs["9.1"].findings] == [(4, ""), (30, BASILAR)]
    assert {uid: job.findings for uid, job in jobs.items() if job.findings} == split.findings
    assert jobs["9.1"].labels[RSNA_2025.labels.index(BASILAR)] == 1
    assert jobs["9.1"].folder == data.paths.series / "9.1"
