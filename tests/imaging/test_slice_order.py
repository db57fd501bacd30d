"""Which slices are kept and in what order."""

import numpy as np
import pydicom
import pytest

from intracranial.imaging.series import read_series
from tests.imaging.make_series import Stored, head, store, write_multi_frame, write_single_frames


def codes(series) -> set[str]:
    return {note.split(":")[0] for note in series.notes}


@pytest.mark.parametrize("plane", ["sagittal", "coronal"])
def test_slices_are_sorted_along_the_normal_where_sorting_by_z_would_shuffle(tmp_path, plane):
    """The original solution sorted by ImagePositionPatient[2], which is constant here."""
    stored = store(head(), plane)
    shuffle = np.random.default_rng(1).permutation(len(stored.images))
    mixed = Stored(stored.images[shuffle], stored.iop, stored.positions[shuffle], stored.spacing)
    write_single_frames(tmp_path / "s", mixed)
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() - 1024.0)
    assert len({position[2] for position in series.positions}) == 1


def test_file_names_and_instance_numbers_do_not_decide_the_order(tmp_path):
    names = [f"{9 - k}.IMA" for k in range(8)]
    write_single_frames(
        tmp_path / "s", store(head()), names=names, per_slice={"InstanceNumber": [7] * 8}
    )
    np.testing.assert_array_equal(read_series(tmp_path / "s").pixels, head() - 1024.0)


def test_frames_of_a_multi_frame_file_are_sorted_by_position(tmp_path):
    """The original solution kept the order of the file."""
    volume, order = head(), [5, 0, 7, 2, 1, 6, 4, 3]
    write_multi_frame(tmp_path / "s" / "one", store(volume), order=order)
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, volume)
    assert [order[frame] for frame in series.frames] == list(range(8))
    assert set(series.sop_uids) == {"1.2.3.9"}


@pytest.mark.parametrize("shared", [True, False])
def test_geometry_comes_from_per_frame_or_shared_functional_groups(tmp_path, shared):
    write_multi_frame(tmp_path / "s" / "one", store(head(), "coronal"), shared=shared)
    series = read_series(tmp_path / "s")
    assert series.geometry.plane == "coronal"
    np.testing.assert_allclose(series.geometry.spacing, (2.0, 0.5, 0.8))


def test_a_per_frame_rescale_goes_before_the_shared_one(tmp_path):
    slopes = [float(k + 1) for k in range(8)]
    write_multi_frame(tmp_path / "s" / "one", store(head()), slopes=slopes)
    expected = head() * np.array(slopes)[:, None, None]
    np.testing.assert_allclose(read_series(tmp_path / "s").pixels, expected, rtol=1e-6)


def test_without_positions_instance_numbers_give_the_order_and_geometry_is_unknown(tmp_path):
    stored = store(head())
    numbers = [3, 1, 2, 8, 7, 6, 5, 4]
    write_single_frames(
        tmp_path / "s",
        stored,
        tags={"ImagePositionPatient": None},
        per_slice={"InstanceNumber": numbers},
    )
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, stored.images[np.argsort(numbers)] - 1024.0)
    assert {"position_missing", "order_by_instance_number", "geometry_unknown"} <= codes(series)
    assert not series.geometry.geometry_known
    assert series.geometry.plane == "unknown"


def test_without_positions_and_numbers_natural_file_names_give_the_order(tmp_path):
    names = [f"I{10 * (k + 1)}" for k in range(8)]
    absent = {"ImagePositionPatient": None, "InstanceNumber": None}
    write_single_frames(tmp_path / "s", store(head()), names=names, tags=absent)
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() - 1024.0)
    assert "order_by_file_name" in codes(series)


def test_slices_all_at_one_position_are_kept_in_instance_order_with_unknown_geometry(tmp_path):
    write_single_frames(tmp_path / "s", store(head()), tags={"ImagePositionPatient": [0, 0, 5]})
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() - 1024.0)
    assert "single_position" in codes(series)
    assert not series.geometry.geometry_known


@pytest.mark.parametrize("bad", [b"1e9   ", b"nan   "])
def test_a_garbage_position_counts_as_missing(tmp_path, bad):
    places = [[float(v) for v in place] for place in store(head()).positions[:7]]
    tags = {"ImagePositionPatient": [*places, [987654, 0, 0]]}
    write_single_frames(tmp_path / "s", store(head()), per_slice=tags)
    path = tmp_path / "s" / "1.2.3.9.8.dcm"
    data = path.read_bytes()
    assert data.count(b"987654") == 1
    path.write_bytes(data.replace(b"987654", bad))
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() - 1024.0)
    assert "position_fitted:1" in series.notes


def test_a_scout_among_the_slices_is_left_out_and_noted(tmp_path):
    write_single_frames(tmp_path / "s", store(head()))
    write_single_frames(tmp_path / "s" / "a", store(head(2, 64, 64), "sagittal"), names=["x", "y"])
    series = read_series(tmp_path / "s")
    assert len(series.pixels) == 8
    assert {"mixed_matrix", "duplicate_sop"} & codes(series)


def test_the_dominant_orientation_is_kept(tmp_path):
    volume = head(8, 32, 32)
    write_single_frames(tmp_path / "s", store(volume))
    scout = store(head(3, 32, 32, seed=5), "coronal")
    write_single_frames(
        tmp_path / "s" / "scout",
        scout,
        names=["x", "y", "z"],
        tags={"AcquisitionNumber": 9},
    )
    _rename_sops(tmp_path / "s" / "scout")
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, volume - 1024.0)
    assert "mixed_orientation:3" in series.notes


def _rename_sops(folder) -> None:
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.SOPInstanceUID = dataset.SOPInstanceUID + ".77"
        dataset.save_as(path)


def test_the_same_object_twice_counts_once(tmp_path):
    write_single_frames(tmp_path / "s", store(head()))
    write_single_frames(tmp_path / "s" / "copy", store(head()))
    series = read_series(tmp_path / "s")
    assert len(series.pixels) == 8
    assert "duplicate_sop:8" in series.notes


def test_one_volume_of_a_multi_phase_series_is_kept_whole(tmp_path):
    first, second = store(head(seed=1)), store(head(seed=2))
    both = Stored(
        np.concatenate([second.images, first.images]),
        first.iop,
        np.concatenate([second.positions, first.positions]),
        first.spacing,
    )
    times = [2] * 8 + [1] * 8
    write_single_frames(tmp_path / "s", both, per_slice={"TemporalPositionIdentifier": times})
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head(seed=1) - 1024.0)
    assert any(note.startswith("volumes_dropped:8 slices") for note in series.notes)


def test_an_incomplete_first_phase_gives_way_to_the_first_complete_one(tmp_path):
    first, second = store(head(seed=1)), store(head(seed=2))
    both = Stored(
        np.concatenate([first.images[:7], second.images]),
        first.iop,
        np.concatenate([first.positions[:7], second.positions]),
        first.spacing,
    )
    write_single_frames(
        tmp_path / "s", both, per_slice={"TemporalPositionIdentifier": [1] * 7 + [2] * 8}
    )
    np.testing.assert_array_equal(read_series(tmp_path / "s").pixels, head(seed=2) - 1024.0)


def test_unexplained_duplicates_keep_the_lowest_instance_number(tmp_path):
    stored = store(head())
    twice = Stored(
        np.concatenate([stored.images, stored.images[:1] + 1]),
        stored.iop,
        np.concatenate([stored.positions, stored.positions[:1]]),
        stored.spacing,
    )
    write_single_frames(tmp_path / "s", twice)
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() - 1024.0)
    assert "duplicate_position:1" in series.notes


def test_a_gap_is_noted_and_the_spacing_is_the_median(tmp_path):
    stored = store(head())
    kept = [0, 1, 2, 3, 6, 7]
    write_single_frames(
        tmp_path / "s", Stored(stored.images[kept], stored.iop, stored.positions[kept], (1, 1))
    )
    series = read_series(tmp_path / "s")
    assert series.geometry.spacing[0] == pytest.approx(2.0)
    assert "gaps:1:largest 6.00 mm" in series.notes


def test_spacing_comes_from_positions_not_from_slice_thickness(tmp_path):
    write_single_frames(tmp_path / "s", store(head()), tags={"SliceThickness": 5})
    assert read_series(tmp_path / "s").geometry.spacing[0] == pytest.approx(2.0)


def test_a_gantry_tilt_is_noted_and_nothing_is_resampled(tmp_path):
    stored = store(head())
    stored.positions = stored.positions + np.arange(8)[:, None] * np.array([0, 0.5, 0])
    write_single_frames(tmp_path / "s", stored)
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() - 1024.0)
    assert "gantry_tilt:14.0 degrees" in series.notes


def test_a_classic_multi_frame_file_keeps_frame_order_with_unknown_geometry(tmp_path):
    write_multi_frame(tmp_path / "s" / "one", store(head()))
    dataset = pydicom.dcmread(tmp_path / "s" / "one")
    del dataset.PerFrameFunctionalGroupsSequence, dataset.SharedFunctionalGroupsSequence
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    dataset.save_as(tmp_path / "s" / "one")
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head())
    assert not series.geometry.geometry_known


def test_without_pixel_spacing_the_plane_is_known_but_millimetres_are_nominal(tmp_path):
    write_single_frames(tmp_path / "s", store(head()), tags={"PixelSpacing": None})
    series = read_series(tmp_path / "s")
    assert "pixel_spacing_missing" in series.notes
    assert series.geometry.plane == "axial"
    assert not series.geometry.geometry_known
    np.testing.assert_allclose(series.geometry.spacing, (2.0, 5.5, 5.5))
