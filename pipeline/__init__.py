"""Train a vision network, fine-tune it as a spiking network, and take it to Loihi."""

__version__ = "0.1.0"
