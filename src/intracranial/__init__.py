"""Two-stage detection of intracranial aneurysms in head CTA, MRA and MRI series.

`Predictor` and what it returns can be imported from here, other programs need no more.
"""

TYPE_CHECKING = False  # typing takes time before Ctrl-C has an answer
if TYPE_CHECKING:
    from intracranial.caching.read_ahead import Rejected
    from intracranial.imaging.outcome import SeriesError
    from intracranial.inference.points import Point
    from intracranial.inference.run import Prediction, Predictor

__all__ = ["Point", "Prediction", "Predictor", "Rejected", "SeriesError"]


def __getattr__(name: str) -> object:
    """Import the interface when it is asked for: torch takes seconds that not every use needs."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from intracranial.threads import bound_spinning

    bound_spinning()
    from intracranial.inference import run

    return getattr(run, name)
