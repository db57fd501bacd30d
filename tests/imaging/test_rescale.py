"""The rescale policy of CT, on histograms as scanners and their users leave them."""

import numpy as np
import pytest

from intracranial.imaging.rescale import StoredValues, decide, unwrap

PIXELS = 60_000


def tissue(rng, **shares):
    """HU of a field with the given shares of the pixels; the rest is air.

    Bone falls off slowly from marrow to cortex, as in real heads.
    """
    draw = {
        "emphysema": lambda n: rng.normal(-905, 30, n),
        "lung": lambda n: rng.normal(-780, 110, n),
        "fat": lambda n: rng.normal(-95, 18, n),
        "water": lambda n: rng.normal(0, 3, n),
        "brain": lambda n: rng.normal(36, 8, n),
        "muscle": lambda n: rng.normal(60, 10, n),
        "contrast": lambda n: rng.uniform(130, 480, n),
        "bone": lambda n: np.clip(150 + rng.gamma(2.2, 330, n), 150, 2600),
        "metal": lambda n: rng.uniform(3000, 9000, n),
    }
    counts = {name: round(share * PIXELS) for name, share in shares.items()}
    air = max(0, PIXELS - sum(counts.values()))
    parts = [draw[name](n) for name, n in counts.items()]
    return np.concatenate([rng.normal(-1000, 3, air), *parts])


def histogram(stored, slope=1.0, intercept=-1024.0, padding=None):
    stored = np.asarray(stored).astype(np.int64)
    if padding is not None:
        stored = stored[(stored < padding[0]) | (stored > padding[1])]
    if not len(stored):
        return StoredValues(slope, intercept, 0, np.zeros(1, dtype=np.int64))
    first = int(stored.min())
    return StoredValues(slope, intercept, first, np.bincount(stored - first))


def store(hu, slope=1.0, intercept=-1024.0, bits=12, signed=False):
    """Honest storage: the inverse of the rescale, clipped to what the bits hold."""
    low = -(1 << (bits - 1)) if signed else 0
    return np.clip(np.rint((hu - intercept) / slope), low, low + (1 << bits) - 1)


def read(stored, slope=1.0, intercept=-1024.0, bits=12, signed=False, padding=None):
    sample = histogram(stored, slope, intercept, padding)
    return decide("auto", [sample], bits, signed, padding)


def code(rescale):
    return [note.split(":")[0] for note in rescale.notes]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


HEAD = {"fat": 0.05, "brain": 0.3, "muscle": 0.05, "contrast": 0.01, "bone": 0.08}
CROPPED = {"fat": 0.03, "brain": 0.8, "muscle": 0.03, "contrast": 0.04, "bone": 0.1}


@pytest.mark.parametrize("field", [HEAD, CROPPED])
@pytest.mark.parametrize(("bits", "signed"), [(12, False), (16, False), (16, True)])
def test_honest_files_are_rescaled_without_a_word(rng, field, bits, signed):
    hu = tissue(rng, **field) + rng.normal(0, 12, PIXELS)
    found = read(store(hu, bits=bits, signed=signed), bits=bits, signed=signed)
    assert (found.kind, found.notes) == ("applied", ())


@pytest.mark.parametrize(
    ("field", "uncertain"),
    [
        pytest.param({"water": 0.6}, False, id="water phantom in air"),
        pytest.param({"water": 1.0}, False, id="water phantom alone"),
        pytest.param({"lung": 0.5, "muscle": 0.15, "fat": 0.1, "bone": 0.02}, False, id="chest"),
        pytest.param({"lung": 0.93, "muscle": 0.05, "contrast": 0.02}, False, id="inside a lung"),
        pytest.param({"emphysema": 0.98, "contrast": 0.02}, True, id="diseased lung alone"),
        pytest.param({"brain": 0.6, "contrast": 0.4}, False, id="contrast-heavy"),
        pytest.param({"brain": 0.2, "bone": 0.6}, False, id="bone-heavy"),
        pytest.param({"brain": 0.3, "bone": 0.1, "metal": 0.05}, False, id="metal"),
        pytest.param({}, True, id="air only"),
        pytest.param({"bone": 0.2}, True, id="dry skull"),
        pytest.param({"bone": 1.0}, True, id="bone only"),
    ],
)
@pytest.mark.parametrize("noise", [5, 20, 45])
def test_odd_but_honest_fields_are_rescaled(rng, field, uncertain, noise):
    hu = tissue(rng, **field) + rng.normal(0, noise, PIXELS)
    found = read(store(hu))
    assert found.kind == "applied"
    assert code(found) == (["rescale_uncertain"] if uncertain else [])


@pytest.mark.parametrize("noise", [50, 70, 100])
@pytest.mark.parametrize("off", [-10, 0, 16])
def test_noisy_bone_heavy_fields_are_rescaled(rng, noise, off):
    """A low-dose scan of the inner ear: noise and bone drown what soft tissue there is."""
    hu = tissue(rng, brain=0.06, contrast=0.15, bone=0.4) + rng.normal(off, noise, PIXELS)
    assert read(store(hu)).kind == "applied"


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("off", [-20, 0, 8])
@pytest.mark.parametrize("noise", [5, 20, 80])
def test_a_dry_skull_is_rescaled_whatever_the_air_reads(rng, noise, off, signed):
    """Bone in air without soft tissue; the air alone resembles brain as stored."""
    hu = tissue(rng, bone=0.2) + rng.normal(off, noise, PIXELS)
    assert read(store(hu, bits=16, signed=signed), bits=16, signed=signed).kind == "applied"


@pytest.mark.parametrize("value", [0, 24, 40, 1064])
def test_a_constant_series_is_rescaled_and_called_uncertain(value):
    found = read(np.full(PIXELS, value))
    assert (found.kind, code(found)) == ("applied", ["rescale_uncertain"])


@pytest.mark.parametrize(
    ("low", "high"),
    [(0, 100), (0, 160), (0, 200), (0, 400), (40, 240), (0, 4095), (-1500, 3000), (-1000, 60)],
)
def test_ramps_and_random_values_are_rescaled(rng, low, high):
    ramp = np.linspace(low, high, PIXELS).astype(int)
    for stored in (ramp, rng.integers(low, high, PIXELS)):
        assert read(stored, bits=16, signed=True).kind == "applied"


@pytest.mark.parametrize("values", [(0, 50, 400), (24, 40, 1500), (10, 60, 70, 300)])
def test_drawn_images_of_few_values_are_rescaled(values):
    assert read(np.repeat(values, PIXELS // 4)).kind == "applied"


def test_a_series_of_padding_alone_is_rescaled_and_called_uncertain():
    found = read(np.full(PIXELS, -2000), signed=True, bits=16, padding=(-2000, -2000))
    assert (found.kind, code(found)) == ("applied", ["rescale_uncertain"])


@pytest.mark.parametrize("off", [0, 20])
@pytest.mark.parametrize(
    ("fill", "declared"),
    [(-2000, True), (-2000, False), (-1024, True), (-1024, False), (-1000, True)],
)
def test_padding_in_honest_files_is_not_taken_for_air_as_stored(rng, fill, declared, off):
    """Undeclared padding of -1000 is left out: it would look like air in every respect."""
    stored = store(tissue(rng, **HEAD) + rng.normal(off, 12, PIXELS), signed=True, bits=16)
    stored[: PIXELS // 5] = fill
    found = read(stored, signed=True, bits=16, padding=(fill, fill) if declared else None)
    assert found.kind == "applied"


def test_padding_that_lossy_compression_blurred_is_not_taken_for_air_as_stored(rng):
    stored = store(tissue(rng, **HEAD) + rng.normal(20, 12, PIXELS), signed=True, bits=16)
    stored[: PIXELS // 5] = -1000 + np.rint(rng.normal(0, 4, PIXELS // 5))
    assert read(stored, signed=True, bits=16, padding=(-1000, -1000)).kind == "applied"


@pytest.mark.parametrize("field", [HEAD, {"brain": 0.05, "bone": 0.6}])
@pytest.mark.parametrize("noise", [12, 60])
def test_undeclared_padding_that_was_blurred_is_not_taken_for_air(rng, field, noise):
    stored = store(tissue(rng, **field) + rng.normal(0, noise, PIXELS), signed=True, bits=16)
    stored[::5] = -1024 + np.rint(rng.normal(0, 4, PIXELS // 5))
    assert read(stored, signed=True, bits=16).kind == "applied"


@pytest.mark.parametrize(("slope", "intercept"), [(2.0, -1024), (0.5, -1000), (16.0, -1024)])
def test_other_slopes_are_applied(rng, slope, intercept):
    hu = tissue(rng, **HEAD) + rng.normal(0, 12, PIXELS)
    found = read(store(hu, slope, intercept, bits=16), slope, intercept, bits=16)
    assert (found.kind, found.notes) == ("applied", ())


def test_slices_with_their_own_intercepts_are_applied(rng):
    hu = tissue(rng, **HEAD) + rng.normal(0, 12, PIXELS)
    each = [histogram(store(hu, 1, c), 1, c) for c in (-1024, -1000, -900)]
    assert decide("auto", each, 12, False, None).kind == "applied"


def test_hounsfield_units_with_an_intercept_are_found_by_their_air(rng):
    hu = tissue(rng, **HEAD) + rng.normal(0, 12, PIXELS)
    found = read(np.rint(hu), signed=True, bits=16)
    assert (found.kind, code(found)) == ("already_hu", ["rescale_already_hu"])
    assert "as stored and -9" in found.notes[0] and "air as stored" in found.notes[0]


def test_hounsfield_units_in_a_cropped_field_are_found_by_their_soft_tissue(rng):
    """No air: as applied, vessels and bone would float in air without any soft tissue."""
    hu = tissue(rng, **CROPPED) + rng.normal(0, 12, PIXELS)
    assert read(np.rint(hu), signed=True, bits=16).kind == "already_hu"


@pytest.mark.parametrize(
    "field",
    [
        pytest.param({}, id="air alone"),
        pytest.param({"lung": 0.4, "contrast": 0.1}, id="lung"),
        pytest.param({"contrast": 0.3, "bone": 0.3}, id="bone and contrast"),
    ],
)
def test_hounsfield_units_are_found_by_air_without_soft_tissue(rng, field):
    hu = tissue(rng, **field) + rng.normal(0, 12, PIXELS)
    assert read(np.rint(hu), signed=True, bits=16).kind == "already_hu"


@pytest.mark.parametrize("brain", [20, 30, 40])
def test_hounsfield_units_are_found_though_bone_lies_where_soft_tissue_would(rng, brain):
    """A phantom whose bone has one value, which the intercept would move to brain."""
    parts = [rng.normal(-1000, 12, 30_000), rng.normal(brain, 12, 20_000)]
    hu = np.concatenate([*parts, rng.normal(1060, 12, 10_000)])
    assert read(np.rint(hu), signed=True, bits=16).kind == "already_hu"


def test_hounsfield_units_without_noise_are_found():
    """A phantom: air -1000, bone of a single value that the intercept would move to -24."""
    parts = [np.full(30_000, -1000), np.arange(20_000) % 40 + 20, np.full(10_000, 1000)]
    assert read(np.concatenate(parts), signed=True, bits=16).kind == "already_hu"


def test_hounsfield_units_clipped_at_zero_are_found(rng):
    hu = tissue(rng, **HEAD) + rng.normal(0, 5, PIXELS)
    assert read(np.maximum(np.rint(hu), 0), bits=16).kind == "already_hu"


def test_brain_and_nothing_else_is_undecided(rng):
    """A peak at 36 alone may be air that is a little off."""
    found = read(np.rint(tissue(rng, brain=1.0)), signed=True, bits=16)
    assert (found.kind, code(found)) == ("applied", ["rescale_uncertain"])


@pytest.mark.parametrize("intercept", [0, -1, 40])
def test_readings_that_hardly_differ_are_not_compared(rng, intercept):
    hu = tissue(rng, **HEAD)
    found = read(np.rint(hu), intercept=intercept, signed=True, bits=16)
    assert (found.kind, found.notes) == ("applied", ())


def test_steel_is_not_taken_for_wrapped_air(rng):
    stored = store(tissue(rng, **CROPPED), intercept=0)
    stored[PIXELS // 2 :] = rng.uniform(1000, 4096, PIXELS // 2)
    assert read(stored, intercept=0).kind == "applied"


def random_field(rng, least_soft):
    """Shares of a random head, neck or chest with at least this share of soft tissue."""
    air = rng.choice([0.0, rng.uniform(0, 0.9)])
    names = ["fat", "brain", "muscle", "contrast", "bone", "lung"]
    weights = rng.dirichlet([0.6, 3, 1, 0.4, 1, 0.15]) * (1 - air)
    field = dict(zip(names, weights, strict=True))
    field["brain"] = max(field["brain"], least_soft)
    scale = min(1.0, 1 / sum(field.values()))
    return {name: share * scale for name, share in field.items()}


def random_series(rng, least_soft, pixels):
    hu = tissue(rng, **random_field(rng, least_soft))[:PIXELS]
    hu = rng.choice(hu, pixels) if pixels < PIXELS else hu
    return hu + rng.uniform(-8, 8) + rng.normal(0, rng.uniform(2, 50), len(hu))


@pytest.mark.parametrize(("pixels", "most_uncertain"), [(PIXELS, 0.05), (3000, 0.06), (300, 0.4)])
def test_no_honest_series_is_overridden(pixels, most_uncertain):
    rng = np.random.default_rng(1)
    overridden, uncertain, count = [], 0, 400
    for _ in range(count):
        hu = random_series(rng, 0.02, pixels)
        bits, signed = [(12, False), (16, False), (16, True)][rng.integers(3)]
        slope = rng.choice([1.0, 1.0, 0.5, 2.0])
        intercept = float(rng.choice([-1024, -1000, -1023, -8192 if bits == 16 else -1024]))
        stored = store(hu, slope, intercept, bits, signed)
        fill = int(rng.choice([-2000, -1024])) if signed else 0
        padding = (fill, fill) if rng.random() < 0.5 else None
        stored[: int(rng.choice([0, 0.2]) * len(stored))] = fill
        found = read(stored, slope, intercept, bits, signed, padding)
        uncertain += code(found) == ["rescale_uncertain"]
        if found.kind != "applied":
            overridden.append(found.notes)
    assert overridden == []
    assert uncertain <= most_uncertain * count, uncertain


@pytest.mark.parametrize(("pixels", "least_found"), [(PIXELS, 0.95), (12_000, 0.93), (600, 0.7)])
def test_nearly_all_series_of_hounsfield_units_are_found(pixels, least_found):
    rng = np.random.default_rng(2)
    missed, count = [], 300
    for _ in range(count):
        hu = random_series(rng, 0.2, pixels)
        found = read(np.clip(np.rint(hu), -1024, 3071), 1, rng.choice([-1024, -1000]), 16, True)
        if found.kind != "already_hu":
            missed.append(found.notes)
    found_share = 1 - len(missed) / count
    assert found_share >= least_found, f"{found_share:.1%} found, missed {missed}"


@pytest.mark.parametrize("noise", [0, 12])
@pytest.mark.parametrize("intercept", [0, -99])
def test_wrapped_values_are_found_and_mended(rng, noise, intercept):
    hu = np.clip(np.rint(tissue(rng, **HEAD) + rng.normal(0, noise, PIXELS)), -1024, 3071)
    wrapped = hu.astype(np.int64) % 4096
    found = read(wrapped, intercept=intercept)
    assert (found.kind, code(found)) == ("unwrapped", ["rescale_unwrapped"])
    np.testing.assert_array_equal(unwrap(wrapped.astype(np.uint16)), hu)


def test_wrapped_values_are_found_in_a_cropped_field_by_its_fat(rng):
    hu = np.rint(tissue(rng, **CROPPED) + rng.normal(0, 5, PIXELS))
    assert read(hu % 4096, intercept=0).kind == "unwrapped"


@pytest.mark.parametrize("share", [0.01, 0.1])
def test_saturated_metal_is_not_taken_for_wrapped_air(rng, share):
    hu = tissue(rng, **CROPPED) + rng.normal(0, 12, PIXELS)
    hu[: int(share * PIXELS)] = rng.uniform(1000, 20_000, int(share * PIXELS))
    assert read(store(hu, intercept=0), intercept=0).kind == "applied"


@pytest.mark.parametrize(
    ("bits", "signed", "slope", "intercept"),
    [
        pytest.param(12, False, 1, -1024, id="usual intercept"),
        pytest.param(12, False, 1, -100, id="intercept just not above -100"),
        pytest.param(12, False, 2, 0, id="slope"),
        pytest.param(16, False, 1, 0, id="16 bits"),
        pytest.param(12, True, 1, 0, id="signed"),
    ],
)
def test_only_plain_unsigned_12_bit_files_are_mended(rng, bits, signed, slope, intercept):
    wrapped = np.rint(tissue(rng, **HEAD)) % 4096
    found = read(wrapped, slope, intercept, bits, signed)
    assert found.kind != "unwrapped"


def test_honest_12_bit_files_without_intercept_are_left_alone(rng):
    hu = tissue(rng, **HEAD) + rng.normal(0, 12, PIXELS)
    for stored in (store(hu, intercept=0), store(hu, intercept=-1024)):
        found = read(stored, intercept=0)
        assert (found.kind, found.notes) == ("applied", ())


def test_always_applies_whatever_the_values_say(rng):
    sample = histogram(np.rint(tissue(rng, **HEAD)))
    found = decide("always", [sample], 16, True, None)
    assert (found.kind, found.notes) == ("applied", ())


def test_never_takes_stored_values_and_says_so_where_it_matters(rng):
    stored = store(tissue(rng, **HEAD))
    found = decide("never", [histogram(stored)], 12, False, None)
    assert (found.kind, found.notes) == ("never", ("rescale_never",))
    assert decide("never", [histogram(stored, 1, 0)], 12, False, None).notes == ()


def test_notes_fit_into_a_cell_of_the_table(rng):
    hu = np.rint(tissue(rng, **HEAD))
    found = [read(hu, signed=True, bits=16), read(hu % 4096, intercept=0), read(hu * 0 + 5)]
    assert len({rescale.kind for rescale in found}) == 3
    assert not any(mark in note for rescale in found for note in rescale.notes for mark in ",;")
