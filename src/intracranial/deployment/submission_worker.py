"""The process with the networks behind `Submission`: a line of JSON in, a line of JSON out."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intracranial.deployment.submission import SubmissionConfig
from intracranial.imaging.outcome import SeriesError
from intracranial.threads import bound_spinning

if TYPE_CHECKING:
    from intracranial.inference.run import Predictor


def main(folder: Path) -> None:
    """Load the networks, say so, then answer until the questions end."""
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not get among the answers
    bound_spinning()
    from intracranial.inference.run import Predictor

    config = SubmissionConfig.load(folder)
    predictor = Predictor(folder / config.run, config.folds, views=config.views)
    print(json.dumps({"ready": predictor.compute.reason}), file=answers)
    for line in sys.stdin:
        print(json.dumps(answer(predictor, json.loads(line)["series"])), file=answers)


def answer(predictor: "Predictor", series: str) -> dict[str, Any]:
    """Probabilities by label, or the reason why there are none."""
    try:
        found = predictor.predict(series)
    except SeriesError as error:
        return {"reason": str(error)}
    except Exception as error:  # one series, whatever it provokes, must not end the others
        return {"reason": f"{type(error).__name__}: {error}"}
    return {"probabilities": dict(zip(found.labels, found.probabilities.tolist(), strict=True))}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
