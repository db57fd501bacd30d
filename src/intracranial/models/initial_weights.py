"""Weights from a file: a timm checkpoint, or the published stage 1 of the original solution.

The latter is a state dict with a timm encoder under `image_encoder.` and, behind its dropout, the
linear layer `fc.1`, whose outputs are the labels in the challenge's order.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from intracranial.errors import InputError

ENCODER_PREFIX = "image_encoder."
HEAD_PREFIX = "fc.1."
COUNTER = "num_batches_tracked"
"""Buffer of a batch normalisation that only counts; files written before torch 0.4.1 have none."""

RGB = 3
"""Channels of the pictures that published encoders were trained on."""

NAMES_SHOWN = 3
"""Differing names that a message lists of each kind."""


@dataclass(frozen=True)
class InitialWeights:
    """What a file holds: tensors of the encoder, and of the linear layer where it has one."""

    path: Path
    encoder: dict[str, torch.Tensor]
    head: dict[str, torch.Tensor]


def read_initial_weights(path: Path) -> InitialWeights:
    """Read safetensors, or a state dict that loads with `weights_only=True`.

    Raises:
        InputError: there is no such file, it is no such checkpoint, or it has an encoder under
            `image_encoder.` but no `fc.1`, or tensors beside both.
    """
    import timm.models

    try:
        state = timm.models.load_state_dict(str(path), weights_only=True)
    except FileNotFoundError:
        raise InputError(f"--weights {path} does not exist") from None
    except Exception as error:  # torch, safetensors and pickle each raise their own
        raise InputError(f"--weights {path} is not a readable checkpoint: {error}") from None
    tensors = {str(name): value for name, value in state.items() if torch.is_tensor(value)}
    if not tensors:
        raise InputError(f"--weights {path} is not a readable checkpoint: it holds no tensors")
    encoder = _under(ENCODER_PREFIX, tensors)
    if encoder:
        head = _under(HEAD_PREFIX, tensors)
        if not head:
            raise InputError(
                f"--weights {path} has an encoder under {ENCODER_PREFIX[:-1]} but no "
                f"{HEAD_PREFIX}weight, so that the classifier would stay random: to start from the "
                f"encoder alone, save its tensors without the prefix {ENCODER_PREFIX}"
            )
        beside = [name for name in tensors if not name.startswith((ENCODER_PREFIX, HEAD_PREFIX))]
        if beside:
            raise InputError(
                f"--weights {path} is of another network: beside {ENCODER_PREFIX[:-1]} and "
                f"{HEAD_PREFIX[:-1]} it has {_first(beside)}"
            )
        return InitialWeights(path, encoder, head)
    return InitialWeights(path, tensors, {})


def load_encoder(backbone: nn.Module, given: InitialWeights, name: str) -> None:
    """Copy the encoder's tensors; timm's own classifier in the file is left out.

    Input convolutions over three channels are made to fit an encoder of another number as timm does
    it: repeated and scaled, or summed for one channel.

    Args:
        backbone: timm model without a classifier.
        given: what the file holds.
        name: of the timm model, for the message.

    Raises:
        InputError: names or shapes differ.
    """
    config: dict[str, Any] = getattr(backbone, "pretrained_cfg", None) or {}
    own = backbone.state_dict()
    left_out = tuple(f"{prefix}." for prefix in _names(config.get("classifier")))
    state = {
        key: value
        for key, value in given.encoder.items()
        if key in own or not key.startswith(left_out)
    }
    for first in _names(config.get("first_conv")):
        key = f"{first}.weight"
        if key in own and key in state:
            state[key] = _with_channels(state[key], own[key])
    _copy(backbone, state, f"--weights {given.path} does not fit {name}")


def _names(given: str | Iterable[str] | None) -> tuple[str, ...]:
    """Layers as timm's configurations give them: one, several or none."""
    return (given,) if isinstance(given, str) else tuple(given or ())


def _with_channels(weight: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """An input convolution (out, 3, h, w) over as many channels as `own` has; others as given."""
    from timm.models import adapt_input_conv

    if weight.ndim != 4 or own.ndim != 4 or weight.shape[1] != RGB:
        return weight
    adapted: torch.Tensor = adapt_input_conv(own.shape[1], weight)
    return adapted


def load_head(classifier: nn.Linear, given: InitialWeights) -> None:
    """Copy the linear layer, where the file has one.

    Raises:
        InputError: it has other inputs or another number of labels.
    """
    if given.head:
        _copy(classifier, given.head, f"--weights {given.path}: {HEAD_PREFIX[:-1]} does not fit")


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _copy(module: nn.Module, state: dict[str, torch.Tensor], complaint: str) -> None:
    own = module.state_dict()
    missing = [name for name in own if name not in state and not name.endswith(COUNTER)]
    extra = [name for name in state if name not in own]
    reshaped = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    kinds = (("lacks", missing), ("has beside them", extra), ("has in another shape", reshaped))
    found = [f"it {verb} {_first(names)}" for verb, names in kinds if names]
    if found:
        raise InputError(
            f"{complaint}: of {len(own)} tensors {'; '.join(found)}. Check --model, --pool and "
            "--input_size"
        )
    module.load_state_dict(state, strict=False)


def _first(names: Iterable[str]) -> str:
    listed = list(names)
    rest = len(listed) - NAMES_SHOWN
    return ", ".join(listed[:NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
