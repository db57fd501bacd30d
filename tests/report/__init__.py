"""Tests of src/intracranial/report."""
