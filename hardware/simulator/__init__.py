"""Simulator, predict, targets."""
