"""A trained run in other people's systems: structured reports, ONNX, the challenge's gateway.

In: a run, or its predictions. Out: files that others read.
Enter at the module of the kind of output.
Nothing else in the package depends on it.
"""
