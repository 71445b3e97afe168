"""Scores of every model of an experiment on the same samples."""
