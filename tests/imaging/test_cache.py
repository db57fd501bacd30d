"""The caches that all later stages read."""

import hashlib
import io
from dataclasses import replace

import numpy as np
import xxhash

from intracranial.imaging.cache import CacheDigest, cached_slices, to_cache
from intracranial.imaging.pixels import STANDARD
from intracranial.imaging.series import read_series
from tests.imaging.make_series import head, store, write_multi_frame, write_single_frames


def digest_of(volume: np.ndarray) -> CacheDigest:
    digest = CacheDigest(volume.shape)
    for image in volume:
        digest.update(image)
    return digest


def test_slices_one_by_one_are_those_of_the_whole(tmp_path):
    write_multi_frame(tmp_path / "s" / "x", store(head(6, 40, 40)))
    series = read_series(tmp_path / "s")
    for size in (40, 24, 64):
        whole = to_cache(series, replace(STANDARD, size=size))
        one_by_one = [image.copy() for image in cached_slices(series, replace(STANDARD, size=size))]
        np.testing.assert_array_equal(whole, one_by_one)
        assert whole.dtype == np.float16
        assert len({hashlib.sha256(image.tobytes()).digest() for image in one_by_one}) == 6


def test_the_digest_is_that_of_the_file(tmp_path):
    write_single_frames(tmp_path / "s", store(head()))
    volume = to_cache(read_series(tmp_path / "s"), replace(STANDARD, size=32))
    file = io.BytesIO()
    np.save(file, volume)
    assert digest_of(volume).hexdigest() == xxhash.xxh3_128(file.getvalue()).hexdigest()
    assert digest_of(volume).header + volume.tobytes() == file.getvalue()


def test_constant_arrays_identify_nobody():
    volume = np.zeros((3, 8, 8), np.float16)
    assert digest_of(volume).of_image is None
    for place in ((0, 0, 0), (2, 7, 7), (1, 3, 3)):
        other = volume.copy()
        other[place] = 1
        assert digest_of(other).of_image == digest_of(other).hexdigest()
    steps = np.arange(3, dtype=np.float16)[:, None, None] + volume
    assert digest_of(steps).of_image is not None
