"""One neuron, its equations once: for NengoDL, training and tests."""
