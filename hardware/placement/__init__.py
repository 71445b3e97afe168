"""Blocks → fewest cores."""
