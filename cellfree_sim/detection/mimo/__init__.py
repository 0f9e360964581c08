"""MIMO detectors to choose from: options, one module each, that import torch only when a detector is built."""
