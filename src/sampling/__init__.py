"""Cached series become training samples: folds, spots, stacks, sequences."""
