"""Reference algorithms to choose from: options, one module each; the mathematics is in modules that import torch."""
