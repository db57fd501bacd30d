"""The two networks: slice classifier (stage 1) and sequence classifier (stage 2).

In: the names and sizes that a sidecar states. Out: torch modules, with weights where asked for.
Enter at `slice_classifier` and `sequence_classifier`.
They know tensors alone: no series, no label's name, no file of a run.
"""
