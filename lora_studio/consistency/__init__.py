"""How near a take is to the brand: palette, identity, flicker, motion. Knows no sampler and no votes."""
