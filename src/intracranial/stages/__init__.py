"""The plot of each script: what it opens, in which order it works, what it writes.

In: the script's options. Out: its artifacts, whole or not at all. Enter at the script's module.
No other room imports it.
"""
