"""The NOVA video model: transformer, VAE, text encoder, schedules and their published weights.

Knows no adapter, no recipe, no footage and no progress bar; model code never names a device.
"""
