"""What an inference costs on silicon: terms of energy and time, each with a range and its source."""
