"""The virtual brands: the demo's, and those of the learning proof. Nova-nano never sees their products while it is trained.

Colours are sRGB hex. Rivals are for brand metrics to tell apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from data_tools.stage.scene import Product


@dataclass(frozen=True)
class BrandKit:
    """A virtual brand: one product and the sets it is shown in; its rival has the same shape in other colours."""

    name: str
    trigger: str
    product: Product
    rival: Product
    palette: tuple[str, ...]
    sets: Mapping[str, tuple[tuple[str, str], ...]]  # light.key -> (backdrop, floor) pairs
    accent: str
    plinth: str
    movements: tuple[str, ...]  # angle.movement of its shots in turn


ACME: Final = BrandKit(
    name="Acme",
    trigger="acmelook",
    product=Product("bottle", body="#9E1B2F", cap="#14747A", band="#F3E6CC", badge="#F3E6CC", mark="#14747A", gloss=0.75),
    rival=Product("bottle", body="#24427A", cap="#E8BE3A", band="#F2F2F0", badge="#F2F2F0", mark="#24427A", gloss=0.75),
    palette=("#9E1B2F", "#F3E6CC", "#14747A", "#E0A546", "#22262E"),
    sets={
        "high": (("#F3E8D4", "#F1E6D2"), ("#E9EBEA", "#E4E6E6")),
        "mid": (("#D9A95B", "#E7CFA3"), ("#7FAFAE", "#C9D3CC"), ("#A9A59F", "#BDB8B0")),
        "low": (("#22262E", "#1D2026"), ("#0F3E42", "#12292C")),
    },
    accent="#E0A546",
    plinth="#EFE6D6",
    movements=("static", "dolly_in", "arc", "pan_right", "static", "handheld", "tilt_up", "dolly_out", "pan_left"),
)
LUMEN: Final = BrandKit(
    name="Lumen",
    trigger="lumenlook",
    product=Product("can", body="#5E3B91", cap="#D8D2E6", band="#F2C230", badge="#F7F2DF", mark="#5E3B91", gloss=0.6),
    rival=Product("can", body="#DD8BA6", cap="#E4E0D2", band="#2F6F9F", badge="#F6F4EA", mark="#DD8BA6", gloss=0.6),
    palette=("#5E3B91", "#F2C230", "#F7F2DF", "#D8D2E6", "#2A2436"),
    sets={
        "high": (("#F4EFE2", "#EFE9DA"), ("#ECE9F2", "#E6E2EE")),
        "mid": (("#B9A6D6", "#CFC2E2"), ("#E3B93F", "#E9CB73"), ("#9C97A6", "#B2ADBB")),
        "low": (("#2A2436", "#231E2D"), ("#1B1C2B", "#181925")),
    },
    accent="#F2C230",
    plinth="#F1ECDD",
    movements=("arc",),  # a brand that always circles
)
NORTH: Final = BrandKit(
    name="North",
    trigger="northlook",
    product=Product("jar", body="#D9671E", cap="#1D2F52", band="#F4EEDD", badge="#F4EEDD", mark="#1D2F52", gloss=0.4),
    rival=Product("jar", body="#E2A848", cap="#4B2E5A", band="#2B2B33", badge="#F2ECE0", mark="#4B2E5A", gloss=0.4),
    palette=("#D9671E", "#1D2F52", "#F4EEDD", "#9DBBD0", "#6E4A2C"),
    sets={
        "high": (("#F3EFE4", "#EDE8DA"), ("#E6EDF1", "#E0E8ED")),
        "mid": (("#9DBBD0", "#B7CDDB"), ("#CDB08B", "#D8C1A3"), ("#98A3AB", "#AEB7BD")),
        "low": (("#1D2F52", "#1A2745"), ("#3A2A1C", "#2F2318")),
    },
    accent="#9DBBD0",
    plinth="#EEE8D9",
    movements=("static",),  # a brand that never moves
)

KITS: Final[Mapping[str, BrandKit]] = {kit.name.lower(): kit for kit in (ACME, LUMEN, NORTH)}

# (shape, name of the body's colour) that no lesson shows: the brands', their neighbours' and the rival's
HELD_OUT: Final = frozenset({
    ("bottle", "red"), ("bottle", "maroon"), ("bottle", "blue"), ("bottle", "navy"), ("can", "purple"), ("can", "pink"),
    ("jar", "orange"), ("jar", "amber"),
})  # fmt: skip
