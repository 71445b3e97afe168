"""What the chip is: limits, synapse memory formats, energies, each with its source."""
