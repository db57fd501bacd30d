"""Series of a data folder become float16 caches and tables, each from the files it names.

In: train.csv and the folders of its series. Out: caches, sidecars, the tables of all series, what
is stale; series read ahead of the networks. Enter at `survey`, `jobs`, `secret` and `read_ahead`.
It knows no fold and no network.
"""
