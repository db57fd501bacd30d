"""Series become folds, and their labelled centres and negatives the spots of stage 1.

In: the tables of the caches, train.csv and the localizers. Out: the split, frozen by its hash.
Enter at `make_split` (to make one) and `split_files.load_split` (to open one).
It knows no pixel and no network.
"""
