"""Windows, the resize and the cache."""

from dataclasses import replace

import numpy as np
import pytest

from intracranial.imaging import intensity
from intracranial.imaging.cache import resize, to_cache
from intracranial.imaging.pixels import STANDARD
from intracranial.imaging.series import read_series
from intracranial.imaging.values import Image
from tests.imaging.make_series import head, store, write_single_frames


def find_window(volume, *arguments):
    """The window of a plain float array (n, rows, cols)."""
    return intensity.find_window([Image(image, None) for image in volume], *arguments)


def mr_head(sac: float, vessels: bool = False, n: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """A T1-like head of 600 in air of 20 with noise; a 4-voxel sac, 0.002 % of the voxels."""
    rng = np.random.default_rng(3)
    volume = np.abs(rng.normal(20, 10, (n, 128, 128)))
    yy, xx = np.mgrid[:128, :128]
    inside = (yy - 64) ** 2 + (xx - 64) ** 2 < 50**2
    volume[:, inside] = rng.normal(600, 60, (n, int(inside.sum())))
    if vessels:
        volume[:, 60:64, 30:34] = rng.normal(1500, 60, (n, 4, 4))
    mask = np.zeros(volume.shape, dtype=bool)
    mask[11:13, 70:74, 70:74] = True
    volume[mask] = sac
    return volume.astype(np.float32), mask


@pytest.mark.parametrize("sac", [1200, 1500, 2000])
@pytest.mark.parametrize("vessels", [False, True])
def test_a_small_bright_sac_keeps_its_contrast(sac, vessels):
    """A 99th percentile window, as is usual, would clip it to the brain's brightest."""
    volume, mask = mr_head(sac, vessels)
    scaled = find_window(volume, "MR").apply(volume)
    assert scaled[mask].max() < 5.0
    inside, tissue = scaled[mask].mean(), scaled[volume > 400].mean()
    assert inside / tissue == pytest.approx(sac / 600, rel=0.1)


def test_a_stray_pixel_does_not_darken_the_head():
    volume, _ = mr_head(700)
    plain = find_window(volume, "MR")
    volume[5, 40, 40] = 60000
    assert find_window(volume, "MR").high == pytest.approx(plain.high, rel=0.02)


def test_an_artefact_stretches_the_window_only_to_its_limit():
    volume, mask = mr_head(700)
    volume[mask] = 60000
    scaled = find_window(volume, "MR").apply(volume)
    assert np.median(scaled[(volume > 400) & ~mask]) > 1.0


def test_the_mr_window_follows_the_scanners_scale():
    volume, _ = mr_head(1500)
    one = find_window(volume, "MR").apply(volume)
    other = find_window(volume * 7, "MR").apply(volume * 7)
    np.testing.assert_allclose(one, other, atol=0.01)


def test_the_mr_window_does_not_depend_on_the_order_of_the_pixels():
    volume, _ = mr_head(1500)
    turned = np.ascontiguousarray(volume[::-1].transpose(0, 2, 1)[:, ::-1])
    assert find_window(volume, "MR") == find_window(turned, "MR")


def test_a_constant_image_has_a_window():
    blank = np.full((2, 8, 8), 7, dtype=np.float32)
    assert np.all(find_window(blank, "MR").apply(blank) == 0)


def test_ct_is_clipped_to_0_to_600_hu_and_divided_by_120():
    values = np.array([[-1000, 0, 60, 300, 600, 3000]], dtype=np.float32)
    scaled = find_window(values, "CT").apply(values)
    np.testing.assert_allclose(scaled, [[0, 0, 0.5, 2.5, 5, 5]], rtol=1e-6)


def test_the_fixed_mr_window_is_the_original_solutions():
    values = np.array([[-2000, -1200, 0, 1400, 4000, 9000]], dtype=np.float32)
    scaled = find_window(values, "MR", "fixed").apply(values)
    expected = (np.clip(values, -1200, 4000) + 1200) / 1040
    np.testing.assert_allclose(scaled, expected, rtol=1e-6)


def test_another_modality_has_no_window():
    with pytest.raises(ValueError, match="PT"):
        find_window(np.zeros((1, 2, 2), np.float32), "PT")


def test_a_window_that_does_not_exist_is_refused():
    for modality in ("CT", "MR"):
        with pytest.raises(ValueError, match=r"nonsense.*robust, fixed"):
            find_window([], modality, "nonsense")


@pytest.mark.parametrize(("rows", "cols"), [(64, 64), (32, 100), (100, 32), (128, 96), (20, 30)])
def test_resizing_moves_no_structure(rows, cols):
    """A linear ramp over pixel centres stays the same ramp away from the borders."""
    ramp = np.tile((np.arange(cols, dtype=np.float32) + 0.5) / cols, (rows, 1))
    resized = resize(ramp, 64)
    expected = (np.arange(64) + 0.5) / 64
    np.testing.assert_allclose(resized[32, 6:-6], expected[6:-6], atol=1e-3)


def test_the_cache_is_float16_from_0_to_5_with_one_slice_per_slice(tmp_path):
    write_single_frames(tmp_path / "s", store(head()))
    cached = to_cache(read_series(tmp_path / "s"), replace(STANDARD, size=64))
    assert cached.dtype == np.float16
    assert cached.shape == (8, 64, 64)
    assert cached.min() == 0
    assert 1 < cached.max() <= 5


def test_the_cache_rounds_as_torch_does(tmp_path):
    torch = pytest.importorskip("torch")
    from intracranial.imaging.cache import to_half

    values = np.random.default_rng(0).uniform(0, 5, 20000).astype(np.float32)
    np.testing.assert_array_equal(to_half(values), torch.from_numpy(values).half().numpy())
