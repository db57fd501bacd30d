"""Weights and resume state on disk, written atomically and read without running anything."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from intracranial.artifacts import atomic_open
from intracranial.errors import InputError, MissingArtifact


def save_weights(path: Path, module: nn.Module) -> None:
    """Save a module's state as safetensors."""
    state = {
        name: tensor.detach().to("cpu").contiguous().clone()
        for name, tensor in module.state_dict().items()
    }
    # save_file would make the file private to its owner, and hide that the disk is full
    with atomic_open(path, "wb") as file:
        file.write(save(state))


def load_weights(path: Path, module: nn.Module, made_by: str) -> None:
    """Load weights that `save_weights` wrote.

    Raises:
        MissingArtifact: the file is not there.
        InputError: it is damaged, was made for another network, or holds values that are not
            finite; the message names the first tensor that does not fit.
    """
    try:
        state = load_file(str(path))
    except FileNotFoundError:
        raise MissingArtifact(f"{path} is missing: run {made_by} first") from None
    except SafetensorError as error:
        raise InputError(
            f"{path} is not a readable safetensors file ({error}): delete it and run {made_by}"
        ) from None
    own = module.state_dict()
    for name in sorted({*own, *state}):
        expected = tuple(own[name].shape) if name in own else "absent"
        found = tuple(state[name].shape) if name in state else "absent"
        if expected != found:
            raise InputError(
                f"{path} was made for another network: tensor {name} is {found}, expected "
                f"{expected}. Train it again with {made_by} --overwrite"
            )
        if not torch.isfinite(state[name]).all():
            raise InputError(
                f"{path}: tensor {name} holds values that are not finite, so that every answer "
                f"would be NaN: copy the file again, or train it again with {made_by} --overwrite"
            )
    module.load_state_dict(state)


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Save resume state: tensors, numbers, strings and containers of them."""
    with atomic_open(path, "wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # torch raises its own on top of a full disk
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None


def load_state(path: Path, identity: str) -> dict[str, Any] | None:
    """Resume state of the run with this identity, or None when there is none.

    Raises:
        InputError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged archive
        raise InputError(f"{path} is not a readable checkpoint ({error}): delete it") from None
    return state if state.get("identity") == identity else None
