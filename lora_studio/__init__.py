"""Brand adapters for the NOVA video model, made from a studio's own footage and judged side by side.

Importing this package does nothing: no device query, no network, no torch.
"""

__version__ = "0.1.0"
