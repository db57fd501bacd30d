"""Trained weights applied to series: features, probabilities and points.

In: a trained fold or run, and series or folders. Out: features, predictions, where they are.
Enter at `run` (a folder, to a prediction), `fold` and `encoder` (a series, to features).
It knows no truth: what is right is judged in `evaluation`.
"""
