"""A folder on disk becomes a `Series`, and a series the array that the networks see.

In: a folder of DICOM files. Out: slices in canonical order with their geometry, notes on what was
left out, or a `SeriesError` that says why. Enter at `series.read_series` and `cache.to_cache`.
It knows no task, artifact or flag: of this package it imports its errors and the marks of options.
"""
