"""Tests of src/intracranial/processes."""
