"""Training: clips on disk in, adapter and card out. Knows nothing of footage, generation or review."""
