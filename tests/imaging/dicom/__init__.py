"""Tests of src/intracranial/imaging/dicom."""
