"""Answers the challenge's gateway from the folder in which this file lies.

tools/kaggle_submission.py copies it there. In a notebook:

    sys.path.insert(0, "/kaggle/input/<the uploaded folder>")
    from kaggle_submission import predict, serve
    serve()
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from intracranial.deployment.submission import Submission

predict = Submission(Path(__file__).resolve().parent).predict
"""predict(series_path) -> one row with the 14 labels and no id; never an error."""


def serve() -> None:
    """Give `predict` to the challenge's server, or to its local gateway outside of a rerun."""
    from kaggle_evaluation.rsna_inference_server import RSNAInferenceServer

    server = RSNAInferenceServer(predict)
    if os.getenv("KAGGLE_IS_COMPETITION_RERUN"):
        server.serve()
    else:
        server.run_local_gateway()


if __name__ == "__main__":
    serve()
