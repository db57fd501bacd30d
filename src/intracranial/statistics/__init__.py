"""Figures of predictions, with their intervals: ranking, calibration, thresholds, distances.

In: arrays of targets, probabilities and groups. Out: values with intervals over patients.
Enter at `intervals`, `calibration`, `comparison` and `localisation`.
It knows no run, file or page.
"""
