"""Predictions become figures, plots and the report."""
