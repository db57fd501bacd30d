"""Cached series become samples: stacks with targets for stage 1, sequences for stage 2.

In: caches or features, and a split. Out: arrays in batches, the same for training and prediction.
Enter at `slice_samples`, `sequences` and `stacks`.
It knows no network and no optimizer.
"""
