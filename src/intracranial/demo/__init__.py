"""Synthetic head angiograms, written as real DICOM.

In: a seed. Out: series as scanners write them, with train.csv and the localizers.
Enter at `dataset`.
It knows nothing of reading: the reader is tested with what it writes.
"""
