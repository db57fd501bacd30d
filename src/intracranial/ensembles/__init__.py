"""Predictions of several runs of the same rows become one.

In: aligned predictions. Out: their combinations, fitted on other folds than they are judged on.
Enter at `combination`.
It knows no network and no image.
"""
