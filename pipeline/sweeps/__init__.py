"""Many trainings of one experiment, chosen on the chip's integers: what is varied, who runs it, what came out."""
