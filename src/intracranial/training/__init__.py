"""One training loop for both stages, its batches, losses, optimization and checkpoints.

In: a network, a loss and training data. Out: averaged weights, resumed to the same bytes after a
kill. Enter at `loop.Fit`.
It knows no label and no DICOM file: what a stage trains on is put together in `stages`.
"""
