"""The rows of a comparison: one table that evaluation, settings and the report read."""

from __future__ import annotations

MODELS = ("constant", "ann", "converted", "hybrid", "loihi-converted", "loihi-hybrid")
BOARD = "loihi-board"  # what came back from a lab; appended to the others
