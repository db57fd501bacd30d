"""Whatever is wrong in a sidecar is said with its file, its key and what to do."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest

from intracranial.artifacts import FoldPaths
from intracranial.errors import InputError, MissingArtifact, UsageError
from intracranial.inference.run import Predictor
from intracranial.lineage import open_stage1
from intracranial.sidecar import build, part
from intracranial.stages.feature_extraction import augmentation_of
from tests.inference.test_other_tasks import THREE
from tests.tiny_runs import edit, read
from tests.untrained_runs import write_untrained_run

PATH = Path("model/run/fold-0/stage1.json")


@dataclass(frozen=True)
class Sizes:
    edge: int
    share: float
    name: Literal["small", "large"] = "small"
    steps: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        if self.edge < 1:
            raise ValueError("an edge of 1 or more is expected")


def test_a_part_is_what_its_reader_takes():
    given = {"edge": 3, "share": 1, "steps": [1, 2]}
    assert part(PATH, {"sizes": given}, "sizes", Sizes) == Sizes(3, 1.0, "small", (1, 2))
    assert part(PATH, {"partial": None}, "partial", str | None) is None
    assert part(PATH, {"flag": True}, "flag", bool) is True


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"edge": "3"}, r"`sizes\.edge` is '3', not a whole number"),
        ({"edge": True}, r"`sizes\.edge` is True, not a whole number"),
        ({"edge": 3.0}, r"`sizes\.edge` is 3\.0, not a whole number"),
        ({"edge": 0}, "`sizes` is .*: an edge of 1 or more is expected"),
        ({"share": float("nan")}, r"`sizes\.share` is nan, not a finite number"),
        ({"name": "huge"}, r"`sizes\.name` is 'huge', not one of 'small', 'large'"),
        ({"name": []}, r"`sizes\.name` is \[\], not one of"),
        ({"steps": "x"}, r"`sizes\.steps` is 'x', not a list"),
        ({"steps": [1, None]}, r"`sizes\.steps\[1\]` is None, not a whole number"),
        ({"heads": 4}, r"`sizes` has 'heads' \(4\), which this version does not know"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_key(change: dict[str, Any], words: str):
    manifest = {"sizes": {"edge": 3, "share": 0.5, **change}}
    with pytest.raises(InputError, match=rf"fold-0/stage1\.json: {words}.*train_stage1\.py"):
        part(PATH, manifest, "sizes", Sizes)


def test_a_part_that_is_missing_or_of_another_kind_is_named():
    with pytest.raises(InputError, match=r"stage1\.json lacks 'sizes'.*train_stage1\.py"):
        part(PATH, {}, "sizes", Sizes)
    with pytest.raises(InputError, match=r"`sizes` is \[\], not an object"):
        part(PATH, {"sizes": []}, "sizes", Sizes)
    with pytest.raises(InputError, match=r"`sizes` lacks 'share'"):
        part(PATH, {"sizes": {"edge": 3}}, "sizes", Sizes)
    with pytest.raises(InputError, match="`partial` is 3, not a text or null"):
        part(PATH, {"partial": 3}, "partial", str | None)


@pytest.mark.parametrize("error", [RuntimeError("too large"), UsageError("too large")])
def test_a_network_that_cannot_be_built_is_the_sidecar_s_fault(error: Exception):
    def make(_: Sizes) -> None:
        raise error

    with pytest.raises(InputError, match=r"stage1\.json: no network .* `model` .*too large"):
        build(PATH, "model", Sizes(3, 0.5), make)


def test_an_error_that_already_says_what_to_do_is_left_as_it_is():
    def make(_: Sizes) -> None:
        raise MissingArtifact("weights are gone")

    with pytest.raises(MissingArtifact, match=r"^weights are gone$"):
        build(PATH, "model", Sizes(3, 0.5), make)


@pytest.fixture
def run(tmp_path: Path) -> FoldPaths:
    return write_untrained_run(tmp_path / "model" / "three", THREE)


DAMAGES: list[tuple[str, str, Any, str]] = [
    ("stage1", "steps", "x", "`steps` is 'x', not a list"),
    ("stage1", "steps", [0], r"`steps` is \[0\], not distances"),
    ("stage1", "steps", [], r"`steps` is \[\], not distances"),
    ("stage1", "input", {}, "`input` lacks 'crop'"),
    ("stage1", "input.crop", 2, "`input` is .*crop 2 is not above 0 and at most 1"),
    ("stage1", "input.input_size", 64, "`input.input_size` is 64 and `model.input_size` 48"),
    ("stage1", "model", {}, "`model` lacks 'backbone'"),
    ("stage1", "model.backbone", "resnet9999", "`model` .*backbone resnet9999: timm has no such"),
    ("stage1", "model.backbone", None, r"`model\.backbone` is None, not a text"),
    ("stage1", "model.pool", "nonsense", "no network can be built from `model`"),
    ("stage1", "model.input_size", -1, "`input.input_size` is 48 and `model.input_size` -1"),
    ("stage1", "task", [], r"`task` is \[\], not an object"),
    ("stage1", "identity", None, "`identity` is None, not a text"),
    ("stage1", "select", None, "`select` is None, not a text"),
    ("stage1", "preprocessing", {}, "`preprocessing` lacks 'size'"),
    ("stage1", "preprocessing.orient", "nonsense", r"`preprocessing\.orient` is 'nonsense', not"),
    ("stage1", "preprocessing.orient", [], r"`preprocessing\.orient` is \[\], not one of"),
    ("stage1", "preprocessing.rescale", "nonsense", r"`preprocessing\.rescale` is 'nonsense'"),
    ("stage1", "preprocessing.mr_window", "nonsense", r"`preprocessing\.mr_window` is"),
    ("stage1", "preprocessing.size", "big", r"`preprocessing\.size` is 'big', not a whole number"),
    ("stage1", "preprocessing.size", -4, "`preprocessing` is .*give 16 to 4096"),
    ("stage2", "inputs", None, "`inputs` is None, not an object"),
    ("stage2", "sequence", {}, "`sequence` lacks 'parts'"),
    ("stage2", "sequence.limit", 0, "`sequence` is .*limit 0 is below 1"),
    ("stage2", "sequence.parts", ["colours"], "some of features, logits, peaks are expected"),
    ("stage2", "sequence.parts", ["logits"], r"`sequence.parts` \['logits'\] do not fit"),
    ("stage2", "model", {}, "`model` lacks 'inputs'"),
    ("stage2", "model.heads", 5, "no network can be built from `model`"),
    ("stage2", "model.pool", "nonsense", "no network can be built from `model`.*pooling"),
    ("stage2", "model.skip", 1, "`model.skip` 1"),
    ("stage2", "model.colour", 1, r"`model` has 'colour' \(1\), which this version"),
    ("stage2", "precision", "int4", "`precision` is 'int4', not one of auto, bf16"),
    ("stage2", "precision", "fp16", "`precision` is 'fp16', at which cpu cannot compute"),
]
"""Stage, key, value, and what is said of it."""


@pytest.mark.parametrize(("stage", "key", "value", "words"), DAMAGES)
def test_a_damaged_sidecar_is_named_when_a_run_is_opened(
    run: FoldPaths, stage: str, key: str, value: Any, words: str
):
    name, *inner = key.split(".")
    sidecar = run.manifest(stage)
    edit(sidecar, **{name: {**read(sidecar)[name], inner[0]: value} if inner else value})
    with pytest.raises(InputError, match=words) as caught:
        Predictor(run.root.parent, device="cpu")
    said = str(caught.value)
    assert str(sidecar) in said and f"train_{stage}.py --overwrite" in said
    assert "--model" not in said and "--precision" not in said


def test_a_stage_1_without_its_augmentation_cannot_make_views(run: FoldPaths):
    stage1 = open_stage1(run, {})
    with pytest.raises(InputError, match=r"stage1\.json: `config` lacks 'rot90'"):
        augmentation_of(replace(stage1, config={**CONFIG, "lr": 0.1}))
    with pytest.raises(InputError, match=r"`config\.rot90` is 'x', not a finite number"):
        augmentation_of(replace(stage1, config={**CONFIG, "rot90": "x"}))
    assert augmentation_of(replace(stage1, config={**CONFIG, "rot90": 0, "lr": 0.1})).rot90 == 0


CONFIG = dict.fromkeys(
    ("flip_lr", "flip_other", "affine", "rotate", "zoom", "shift", "drift", "patch_dropout"), 0.5
)
"""All options of the augmentation but `rot90`."""
