"""Tests of src/intracranial/statistics."""
