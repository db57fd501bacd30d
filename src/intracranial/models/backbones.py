"""timm backbones: names, pretrained weights and their licence."""

import functools
from pathlib import Path
from typing import Any

import torch
from torch import nn

from intracranial.compute import spare_hub_retries
from intracranial.config import nearest
from intracranial.errors import InputError, UsageError

WEIGHTS_AUTO = "auto"
WEIGHTS_NONE = "none"


def check_backbone(name: str) -> None:
    """Check the value of --model without building it.

    Raises:
        UsageError: timm has no such model; the message holds the nearest names.
    """
    _require_known(f"--model {name}", name)


def _require_known(named: str, name: str) -> None:
    import timm

    if not timm.is_model(name.split(".")[0]):
        raise UsageError(f"{named}: timm has no such model{nearest(name, _known_models())}")


@functools.cache
def _known_models() -> tuple[str, ...]:
    import timm

    return (*timm.list_models(), *timm.list_pretrained())


def create_backbone(
    name: str, weights: str, input_size: int, pool: str | None, channels: int
) -> Any:  # noqa: ANN401
    """A timm model without its classifier.

    Args:
        name: timm model name, with or without a `.tag`.
        weights: `auto` for timm's pretrained weights, anything else for random ones.
        input_size: edge of the square input in pixels; models with fixed sizes are built for it.
        pool: timm `global_pool` name, or None for the model's own.
        channels: of the input; timm makes pretrained weights of 3 channels fit.

    Raises:
        UsageError: unknown model or pool, or a model that cannot give intermediate features; the
            message names no flag, since the name may come from a file.
        InputError: the pretrained weights cannot be had.
    """
    if weights == WEIGHTS_AUTO:
        spare_hub_retries()
    import timm

    _require_known(f"backbone {name}", name)
    if weights == WEIGHTS_AUTO and not timm.is_model_pretrained(name):
        raise InputError(
            f"timm has no pretrained weights for {name}: give --weights FILE, or --weights none "
            "to train from scratch"
        )
    arguments: dict[str, Any] = {
        "pretrained": weights == WEIGHTS_AUTO,
        "num_classes": 0,
        "in_chans": channels,
    }
    if pool:
        arguments["global_pool"] = pool
    try:
        backbone = _create(name, arguments, input_size)
    except OSError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"the pretrained weights of {name} cannot be loaded ({reason}). Give a local file "
            "with --weights FILE, or --weights none to train from scratch"
        ) from None
    except (AssertionError, ValueError, KeyError, RuntimeError) as error:
        if not pool:
            raise
        raise UsageError(f"backbone {name} with the pool {pool}: {error}") from None
    if not hasattr(backbone, "forward_intermediates"):
        raise UsageError(f"backbone {name}: timm gives no intermediate features for it")
    return backbone


def _create(name: str, arguments: dict[str, Any], input_size: int) -> nn.Module:
    import timm

    try:  # transformers need the size for their position embeddings, other nets refuse it
        return timm.create_model(name, img_size=input_size, **arguments)
    except TypeError:
        return timm.create_model(name, **arguments)


def weights_licence(backbone: nn.Module, weights: str) -> str:
    """One line on whose weights a model starts from."""
    if weights == WEIGHTS_NONE:
        return "random initial weights"
    if weights != WEIGHTS_AUTO:
        return f"weights from {Path(weights).name}, licence not known"
    config = getattr(backbone, "pretrained_cfg", None) or {}
    source = config.get("hf_hub_id") or config.get("url") or "timm"
    return f"weights {source}, licence {config.get('license') or 'not stated'}"


def dry_run_shapes(
    backbone: Any,  # noqa: ANN401
    input_size: int,
    channels: int,
) -> tuple[int, list[tuple[int, int, int, int]]]:
    """Width of the pooled features, and (index, channels, rows, columns) of each intermediate."""
    was_training = backbone.training
    backbone.eval()
    with torch.no_grad():
        empty = torch.zeros(1, channels, input_size, input_size)
        final, maps = backbone.forward_intermediates(empty)
        width = backbone.forward_head(final, pre_logits=True).shape[1]
    backbone.train(was_training)
    return width, [
        (i, feature.shape[1], feature.shape[2], feature.shape[3]) for i, feature in enumerate(maps)
    ]
