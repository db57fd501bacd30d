"""Synthetic head angiograms, written as real DICOM."""
