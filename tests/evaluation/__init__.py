"""Tests of src/intracranial/evaluation."""
