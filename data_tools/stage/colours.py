"""Colours of the virtual stage: hex codes, linear light, and the words for them. Knows nothing of what is coloured."""

from functools import lru_cache
from typing import Final

# Names that say nothing of the light: no "dark red", no "light grey".
NAMED: Final[dict[str, str]] = {
    "red": "#B4232F", "maroon": "#7E1527", "orange": "#DE7428", "amber": "#E0A546", "yellow": "#EBC73B", "green": "#3F8A4F",
    "forest green": "#1F4A35", "mint": "#9CCDB8", "teal": "#177078", "sky blue": "#8FB9D9", "blue": "#2A5CA8", "navy": "#1E2F55",
    "purple": "#6A4C93", "pink": "#E08FA8", "brown": "#6B4226", "beige": "#D3B998", "cream": "#F3E8D0", "white": "#F2F2F0",
    "pale grey": "#C9CCD1", "grey": "#8B9097", "charcoal": "#43474D", "black": "#1B1C20",
}  # fmt: skip


def linear_rgb(colour: str) -> tuple[float, float, float]:
    """An sRGB hex colour in linear light (IEC 61966-2-1)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return red, green, blue


def luminance(colour: str) -> float:
    """Relative luminance Y of an sRGB hex colour, 0 to 1."""
    red, green, blue = linear_rgb(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def lab(colour: str) -> tuple[float, float, float]:
    """CIELAB (D65) of an sRGB hex colour."""
    red, green, blue = linear_rgb(colour)
    xyz = (
        (0.4124564 * red + 0.3575761 * green + 0.1804375 * blue) / 0.95047,
        luminance(colour),
        (0.0193339 * red + 0.1191920 * green + 0.9503041 * blue) / 1.08883,
    )
    x, y, z = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@lru_cache(maxsize=256)
def colour_name(colour: str) -> str:
    """The nearest name (by distance in CIELAB) for an sRGB hex colour."""
    here = lab(colour)
    return min(NAMED, key=lambda name: sum((a - b) ** 2 for a, b in zip(here, lab(NAMED[name]), strict=True)))
