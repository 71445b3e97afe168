"""Placed blocks → the integer Program."""
