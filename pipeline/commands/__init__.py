"""Verbs that are no stage."""
