"""Replays recordings of the published implementation: inputs and random draws in, every recorded tensor compared."""
