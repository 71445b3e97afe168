"""The fast trainer: the network unrolled over time in TensorFlow."""
