"""A short run of the fuzzer over the DICOM reader, and that the fuzzer sees what goes wrong."""

import numpy as np
import pytest

from intracranial.imaging.series import SeriesError
from tests.imaging import fuzz_dicom
from tests.imaging.fuzz_dicom import FAILURES, Options, Worker, fuzz, main, read_damaged, tally
from tests.imaging.fuzz_mutations import MUTATIONS, mutate
from tests.imaging.fuzz_samples import make_corpus

SECONDS = 20.0
"""Time limit of one file here: generous, because test machines are shared."""


@pytest.fixture(scope="module")
def corpus():
    return make_corpus()


def test_two_hundred_damaged_files_are_reador_rejected_in_time():
    options = Options(count=10 * len(MUTATIONS), seconds=SECONDS, max_gib=0.1)
    results = fuzz(options)
    failed = [result for result in results if result.outcome in FAILURES]
    assert not failed, "\n".join(f"number {one.index}: {one}" for one in failed)
    assert len(results) == options.count
    assert tally(results)["all"].outcomes["read"] > options.count / 10


def test_every_mutation_changes_the_file_and_is_the_same_for_the_same_number(corpus):
    sound = {sample.name: sample.data for sample in corpus}
    for index in range(3 * len(MUTATIONS)):
        name, sample, data = mutate(corpus, 7, index)
        assert name == MUTATIONS[index % len(MUTATIONS)].__name__
        assert (name, sample, data) == mutate(corpus, 7, index)
    changed = [mutate(corpus, 7, index) for index in range(3 * len(MUTATIONS))]
    assert sum(data != sound[sample] for _, sample, data in changed) > 2 * len(MUTATIONS)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ValueError("boom"), "internal"),
        (MemoryError(), "internal"),
        (SeriesError("no_pixels", ""), "no_pixels"),
    ],
)
def test_only_a_series_error_is_a_right_answer(monkeypatch, tmp_path, error, outcome):
    def fail(*_):
        raise error

    monkeypatch.setattr(fuzz_dicom, "read_series", fail)
    assert read_damaged(tmp_path, Options(), lambda _: None).outcome == outcome


def test_readers_that_differ_are_a_failure(monkeypatch, tmp_path):
    def differ(*given):
        raise SeriesError(f"code_of_{given[-1].reader}", "")

    monkeypatch.setattr(fuzz_dicom, "read_series", differ)
    assert read_damaged(tmp_path, Options(), lambda _: None).outcome == "differ"


def test_memory_beyond_the_limit_is_a_failure(monkeypatch, tmp_path):
    def greedy(*_):
        np.ones(2**25)  # 256 MiB
        raise SeriesError("no_pixels", "")

    monkeypatch.setattr(fuzz_dicom, "read_series", greedy)
    assert read_damaged(tmp_path, Options(rss_gib=0.1), lambda _: None).outcome == "memory"


def test_a_worker_that_dies_is_noticed():
    worker = Worker(Options())
    worker.listen()  # it is ready
    worker.process.kill()
    worker.process.join()
    worker.give(0)
    assert worker.listen().outcome == "died"
    worker.end()


def test_a_series_over_the_time_limit_is_a_failure_with_a_file_and_a_report(tmp_path, capsys):
    options = Options(count=1, seconds=1e-9, keep=tmp_path, record=tmp_path / "record.json")
    assert main(options) == 1
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert folder.name == "timeout-0-flip_anywhere"
    assert (folder / "damaged.dcm").stat().st_size > 0
    assert "--first 0" in (folder / "report.txt").read_text()
    assert "timeout 1" in capsys.readouterr().out
