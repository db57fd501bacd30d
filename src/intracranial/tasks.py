"""What is predicted: labels, what they are true of, where they may be, and the score.

A task is data: one YAML file. Two are built in (`tasks/*.yaml`); a data folder's own `task.yaml`
names another. No other module knows the name of a label. Every key: `Task`, and docs/own_data.md.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import yaml

from intracranial.errors import InputError

SERIES_COLUMN = "SeriesInstanceUID"
SOP_COLUMN = "SOPInstanceUID"
LOCALIZER_COLUMNS = (SERIES_COLUMN, SOP_COLUMN, "coordinates", "location")

Metric = Literal["auc", "log_loss"]
Unit = Literal["series", "slice"]
CtScale = Literal["angiography", "hounsfield"]

METRIC_NAMES: Mapping[Metric, str] = {"auc": "AUC", "log_loss": "log loss"}

ALL_OTHERS = "all others"
"""Stands for every label but the overall one, as `locations`."""

LABEL = re.compile(r"[^\x00-\x1f,;\"]{1,100}")
"""A label is a column of tables and a key of JSON files."""

SIDES = re.compile(r"(?<![A-Za-z])(left|right)(?![A-Za-z])", re.IGNORECASE)

FORM = """name: my-task
labels: [hemorrhage, fracture]"""
"""The least that a task file holds."""


@dataclass(frozen=True)
class Code:
    """A coded concept (PS3.16): value, coding scheme, meaning, and the side of a paired site."""

    value: str
    scheme: str
    meaning: str
    side: Literal["", "left", "right"] = ""


@dataclass(frozen=True)
class Task:
    """Labels of series or slices, their order, places and weights.

    Attributes:
        name: of the task.
        labels: names, in the order of every probability vector and of the columns of tables.
        overall: the label that is true where any other is; None where there is no such label.
        locations: labels that may have a place (a row of train_localizers.csv), in the order of
            heat-map channels; none of them: then nothing is localized. The overall label has the
            places of all of them. Labels without a place are true of every slice of their series.
        unit: what a label is true of: a series or a slice.
        metric: `auc`, or `log_loss`.
        weights: of each label in the score; sum 1.
        pairs: labels that a left-right flip exchanges.
        flips: whether a left-right flip of the image has a meaning for these labels.
        ct: how CT is cached: `angiography`, 0..600 HU as 0..5, or `hounsfield`, HU.
        finding: what a positive series has, in words: "a series with an aneurysm".
        modalities: names in train.csv's Modality column over which folds are balanced; where there
            are none, folds are balanced over the values that the column has.
        short: by label a short name for plots.
        finding_code: the finding in a structured report.
        sites: by label the finding site in a structured report.
    """

    name: str
    labels: tuple[str, ...]
    overall: str | None = None
    locations: tuple[str, ...] = ()
    unit: Unit = "series"
    metric: Metric = "auc"
    weights: tuple[float, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    flips: bool = True
    ct: CtScale = "angiography"
    finding: str = "finding"
    modalities: tuple[str, ...] = ()
    short: Mapping[str, str] | None = None
    finding_code: Code | None = None
    sites: Mapping[str, Code] | None = None

    def __post_init__(self) -> None:
        """Give every label its weight, equal ones by default, and find what does not fit.

        Raises:
            ValueError: the parts do not fit each other; in words, without a full stop.
        """
        _check(self)
        if not self.weights:
            equal = (1 / len(self.labels),) * len(self.labels)
            object.__setattr__(self, "weights", equal)

    @property
    def others(self) -> tuple[str, ...]:
        """Labels without the overall one."""
        return tuple(name for name in self.labels if name != self.overall)

    @property
    def overall_weight(self) -> float:
        """Weight of the overall label in the score; 0 where there is none."""
        return 0.0 if self.overall is None else self.weights[self.labels.index(self.overall)]

    @property
    def score_name(self) -> str:
        """Name of the score, such as "weighted AUC"."""
        name = METRIC_NAMES[self.metric]
        if len(self.labels) == 1:
            return name
        return f"{'mean' if len({*self.weights}) == 1 else 'weighted'} {name}"

    @property
    def value_name(self) -> str:
        """Name of a label's value: "AUC"."""
        return METRIC_NAMES[self.metric]

    @property
    def others_noun(self) -> str:
        """What the labels without the overall one are, for sentences: "locations"."""
        if self.overall is None:
            return "labels"
        return "locations" if set(self.others) == set(self.locations) else "other labels"

    @property
    def others_name(self) -> str:
        """Name of the mean over the labels without the overall one: "mean of locations"."""
        return f"mean of {self.others_noun}"

    @property
    def title(self) -> str:
        """Heading of pages: "Aneurysm detection"."""
        return f"{self.finding[:1].upper()}{self.finding[1:]} detection"

    @property
    def higher_is_better(self) -> bool:
        """Direction of the score."""
        return self.metric == "auc"

    @property
    def with_finding(self) -> str:
        """For sentences: "with an aneurysm"."""
        article = "an" if self.finding[:1].lower() in "aeiou" else "a"
        return f"with {article} {self.finding}"

    @property
    def without_finding(self) -> str:
        """For sentences: "without an aneurysm"."""
        return self.with_finding.replace("with ", "without ", 1)

    @property
    def localized_labels(self) -> tuple[str, ...]:
        """Labels whose slices are told by places: the locations and, beside them, the overall."""
        return (*self.locations, *([self.overall] if self.locations and self.overall else ()))

    def mean_of(self, values: Mapping[str, Any], labels: Sequence[str]) -> Any:  # noqa: ANN401
        """Mean of the labels' values (numbers or arrays) by their weights.

        Args:
            values: by label; all of `labels` among them.
            labels: one or more of the task's.
        """
        weights = [self.weights[self.labels.index(name)] for name in labels]
        found = [values[name] for name in labels]
        if len({*weights}) == 1 or not sum(weights):
            return np.mean(found, axis=0)
        return np.average(found, axis=0, weights=weights)

    def score_of(self, values: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """The score from the labels' values (numbers or arrays); None where it has none.

        Labels that lack a value are left out, and the others share their weight; but without the
        overall label's value there is no score, nor without any other label's.
        """
        others = [name for name in self.others if name in values]
        mean = self.mean_of(values, others) if others else None
        if self.overall is None:
            return mean
        if self.overall not in values:
            return None
        if not self.others:
            return values[self.overall]
        if mean is None:
            return None
        weight = self.overall_weight
        return weight * values[self.overall] + (1 - weight) * mean

    def summary(self, values: np.ndarray) -> np.ndarray:
        """Of values (..., L) those of "anything at all": the overall label's, or the highest."""
        if self.overall is None:
            return values.max(axis=-1)
        return values[..., self.labels.index(self.overall)]

    def has_finding(self, targets: np.ndarray) -> np.ndarray:
        """Bool (N,): whether a row of targets (N, L) has the finding; unknown labels (NaN) do not.

        Where the overall label is unknown, or there is none, any other label tells.
        """
        targets = np.asarray(targets)
        some = (targets == 1).any(axis=-1)
        if self.overall is None or not targets.size:
            return some
        overall = targets[..., self.labels.index(self.overall)]
        return np.where(np.isnan(overall.astype(np.float64)), some, overall == 1)

    def label_of_location(self) -> np.ndarray:
        """Position in `labels` of each location: int64 (P,)."""
        return np.array([self.labels.index(name) for name in self.locations], dtype=np.int64)

    def mirrored(self) -> tuple[int, ...]:
        """Index permutation of `labels` under a left-right flip: new[i] = old[mirrored[i]].

        Raises:
            InputError: a label with a side has no partner.
        """
        return mirror_permutation(self.labels, self.pairs)

    def short_name(self, label: str) -> str:
        """The label's short name for plots."""
        return (self.short or {}).get(label, label)

    def of_labels(self, labels: Sequence[str]) -> "Task":
        """The task with some of its labels, in its order; their weights keep their ratios.

        Args:
            labels: some of the task's; the overall one need not be among them.
        """
        kept = tuple(name for name in self.labels if name in labels)
        weights = [self.weights[self.labels.index(name)] for name in kept]
        if self.overall in kept and len(kept) > 1:
            # the overall label's weight stands for itself, see `score_of`
            rest = sum(weights) - self.overall_weight
            weights = [
                one if name == self.overall else one / rest * (1 - self.overall_weight)
                for name, one in zip(kept, weights, strict=True)
            ]
        else:
            weights = [one / sum(weights) for one in weights]
        return replace(
            self,
            labels=kept,
            overall=self.overall if self.overall in kept else None,
            locations=tuple(name for name in self.locations if name in kept),
            weights=tuple(weights),
            pairs=tuple(pair for pair in self.pairs if {*pair} <= {*kept}),
            short=_only(self.short, kept),
            sites=_only(self.sites, kept),
        )

    def record(self) -> dict[str, Any]:
        """As JSON holds it; `task_from` reads it."""
        found: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return found


def _only(named: Mapping[str, Any] | None, labels: Sequence[str]) -> dict[str, Any] | None:
    return None if named is None else {name: one for name, one in named.items() if name in labels}


def mirror_permutation(
    names: Sequence[str], pairs: Sequence[tuple[str, str]] = ()
) -> tuple[int, ...]:
    """Index of each name's left-right partner; names without a side keep their own index.

    Args:
        names: labels.
        pairs: of partners; names that are in none are told by the words left and right in them.

    Raises:
        InputError: a name with a side has no partner.
    """
    partners = {name: other for pair in pairs for name, other in (pair, pair[::-1])}
    swapped = []
    for name in names:
        partner = partners.get(name) or SIDES.sub(_other_side, name)
        if partner not in names:
            raise InputError(
                f"{name!r} has no partner {partner!r} among the labels: a left-right flip has no "
                "meaning for this task. Say `flips: false` in its file, or name the `pairs` that "
                "a flip exchanges"
            )
        swapped.append(names.index(partner))
    return tuple(swapped)


def _other_side(found: re.Match[str]) -> str:
    word = found[0]
    other = "right" if word.lower() == "left" else "left"
    if word.isupper():
        return other.upper()
    return other.capitalize() if word[0].isupper() else other


def _check(task: Task) -> None:
    labels = task.labels
    if not labels or len({*labels}) < len(labels):
        raise ValueError(f"`labels` {list(labels)}: one or more different names are needed")
    for name in labels:
        if not LABEL.fullmatch(name) or name != name.strip() or name in RESERVED:
            raise ValueError(
                f"label {name!r}: give up to 100 characters without commas, semicolons, quotes or "
                f"blanks at the ends, that name no other column ({', '.join(RESERVED)})"
            )
    if task.overall is not None and task.overall not in labels:
        raise ValueError(f"`overall` {task.overall!r} is none of the labels {list(labels)}")
    odd = [name for name in task.locations if name not in task.others]
    if odd or len({*task.locations}) < len(task.locations):
        raise ValueError(
            f"`locations` {list(task.locations)}: give different labels out of {list(task.others)}"
        )
    for key, kind in (("unit", Unit), ("metric", Metric), ("ct", CtScale)):
        if getattr(task, key) not in get_args(kind):
            allowed = " or ".join(get_args(kind))
            raise ValueError(f"`{key}` {getattr(task, key)!r}: give {allowed}")
    if task.weights:
        good = len(task.weights) == len(labels) and min(task.weights) >= 0
        if not (good and abs(sum(task.weights) - 1) < 1e-6):
            raise ValueError(f"`weights` {list(task.weights)}: give each label 0 or more, of sum 1")
        if task.others and not sum(task.weights) - task.overall_weight > 0:
            raise ValueError(f"`weights` {list(task.weights)}: only the overall label has one")
    flat = [name for pair in task.pairs for name in pair]
    if len({*flat}) < len(flat) or not {*flat} <= {*labels}:
        raise ValueError(f"`pairs` {[list(pair) for pair in task.pairs]}: give pairs of labels")
    for key in ("short", "sites"):
        odd = [name for name in getattr(task, key) or () if name not in labels]
        if odd:
            raise ValueError(f"`{key}` names {odd[0]!r}, which is none of the labels")


RESERVED = (
    SERIES_COLUMN,
    SOP_COLUMN,
    *("PatientAge", "PatientSex", "Modality", "PatientID", "Use"),
    *("group", "fold", "localized", "index", "kind", "location", "status", "notes", "n", "size"),
)
"""Columns of tables that no label may be called."""


def task_from(content: object) -> Task:
    """A task from what YAML or JSON holds.

    Raises:
        ValueError: a key is unknown, missing or does not fit; in words, without a full stop.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"the lines\n{FORM}\nare the least that a task needs")
    known = [field.name for field in fields(Task)]
    for key in content:
        if key not in known:
            raise ValueError(f"`{key}` is no key of a task; it knows {', '.join(known)}")
    for key in ("name", "labels"):
        if key not in content:
            raise ValueError(f"it lacks `{key}`; the least that a task needs is\n{FORM}\n")
    values: dict[str, Any] = {name: value for name, value in content.items() if value is not None}
    for key, kind in (("name", str), ("overall", str), ("finding", str), ("flips", bool)):
        if key in values and (not isinstance(values[key], kind) or values[key] == ""):
            wanted = "true or false" if kind is bool else "a text"
            raise ValueError(f"`{key}` {values[key]!r}: give {wanted}")
    values["labels"] = _names("labels", values["labels"])
    if values.get("locations") == ALL_OTHERS:
        values["locations"] = [one for one in values["labels"] if one != values.get("overall")]
    for key in ("locations", "modalities"):
        if key in values:
            values[key] = _names(key, values[key])
    if "pairs" in values:
        if not isinstance(values["pairs"], list | tuple):
            raise ValueError(f"`pairs` {values['pairs']!r}: give a list of pairs")
        pairs = [_names("pairs", pair) for pair in values["pairs"]]
        if any(len(pair) != 2 for pair in pairs):
            raise ValueError(f"`pairs` {[list(pair) for pair in pairs]}: give pairs of labels")
        values["pairs"] = tuple(pairs)
    if "weights" in values:
        values["weights"] = _weights(values["weights"], values["labels"])
    if "short" in values:
        values["short"] = {str(k): str(v) for k, v in _mapping("short", values["short"]).items()}
    if "finding_code" in values:
        values["finding_code"] = _code("finding_code", values["finding_code"])
    if "sites" in values:
        found = _mapping("sites", values["sites"]).items()
        values["sites"] = {str(label): _code(f"sites: {label}", one) for label, one in found}
    return Task(**values)


def _names(key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or any(isinstance(one, list | Mapping) for one in value):
        raise ValueError(f"`{key}` {value!r}: give a list of names")
    odd = [one for one in value if not isinstance(one, str)]
    if odd:  # YAML reads yes, no, 1 and dates as something else
        raise ValueError(f"`{key}`: {odd[0]!r} is no text; put it in quotes")
    return tuple(value)


def _mapping(key: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"`{key}` {value!r}: give `label: value` lines")
    return value


def _weights(value: object, labels: Sequence[str]) -> tuple[float, ...]:
    """Weights of all labels; those that a mapping does not name share the rest equally."""
    if isinstance(value, list | tuple):
        return tuple(float(_fraction(one)) for one in value)
    given = {name: _fraction(one) for name, one in _mapping("weights", value).items()}
    odd = [name for name in given if name not in labels]
    if odd:
        raise ValueError(f"`weights` names {odd[0]!r}, which is none of the labels")
    rest = [name for name in labels if name not in given]
    share = (1 - sum(given.values())) / len(rest) if rest else Fraction(0)
    if share < 0:
        raise ValueError(f"`weights` {value!r}: their sum is above 1")
    return tuple(float(given.get(name, share)) for name in labels)


def _fraction(value: object) -> Fraction:
    """A number, or a fraction such as 2/7."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return Fraction(value if isinstance(value, str | float) else int(value))  # type: ignore[call-overload]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        raise ValueError(f"`weights`: {value!r} is no number") from None


def _code(key: str, value: object) -> Code:
    if isinstance(value, Mapping):
        value = [value.get(field.name, "") for field in fields(Code)]
    parts = list(value) if isinstance(value, list | tuple) else []
    fits = 3 <= len(parts) <= 4 and all(isinstance(one, str) for one in parts)
    if not fits or "" in parts[:3] or (parts[3:] or [""])[0] not in ("", "left", "right"):
        raise ValueError(f"`{key}` {value!r}: give [value, scheme, meaning, left or right]")
    return Code(*parts)


def read_task(path: Path) -> Task:
    """The task of a YAML file.

    Raises:
        InputError: it cannot be read, or a key does not fit.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} is not a readable task file: {error}") from None
    try:
        task = task_from(content)
    except ValueError as error:
        raise InputError(f"{path}: {error}. docs/own_data.md shows every key") from None
    if task.flips:
        try:
            task.mirrored()
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    return task


@cache
def built_in(name: str) -> Task:
    """A task of the package, by the name of its file: `rsna_2025_aneurysm`."""
    text = (files("intracranial") / "tasks" / f"{name}.yaml").read_text(encoding="utf-8")
    return task_from(yaml.safe_load(text))


RSNA_2025 = built_in("rsna_2025_aneurysm")
"""The task of a data folder that names no other."""


def task_of_folder(task_file: Path) -> Task:
    """The task of a data folder: that of its own file, or the 2025 challenge's without one.

    Raises:
        InputError: as `read_task`; or the task needs what this version cannot do.
    """
    if not task_file.exists():
        return RSNA_2025
    task = read_task(task_file)
    if task.unit != "series" or task.ct != "angiography":
        raise InputError(
            f"{task_file}: `unit: {task.unit}` with `ct: {task.ct}`; this version trains on labels "
            "of series and on CT scaled for angiography alone"
        )
    return task
