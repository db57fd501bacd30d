"""Trained weights applied to series: features, and detection from a folder."""
