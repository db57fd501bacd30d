"""Tests of src/intracranial/ensembles."""
