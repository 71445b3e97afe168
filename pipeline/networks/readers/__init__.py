"""Models that were made elsewhere, as networks for the chip: .keras (Keras 2 and 3), .h5 and .onnx."""

from cotrain.pipeline.networks.readers.model import SUFFIXES, ForeignModel, read_model

__all__ = ["SUFFIXES", "ForeignModel", "read_model"]
