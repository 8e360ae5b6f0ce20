"""The virtual brands: the demo's, and those of the learning proof. Nova-nano never sees their products while it is trained.

Colours are sRGB hex. Rivals are for brand metrics to tell apart. Recipes were chosen by how they do on `TRIED`; `FRESH` were
written when that was done, and nothing may be chosen by them.
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

FJORD: Final = BrandKit(
    name="Fjord",
    trigger="fjordlook",
    product=Product("bottle", body="#1F3264", cap="#C9672E", band="#BCD3DE", badge="#BCD3DE", mark="#C9672E", gloss=0.7),
    rival=Product("bottle", body="#7A1830", cap="#D9D4C6", band="#2F6F5F", badge="#D9D4C6", mark="#7A1830", gloss=0.7),
    palette=("#1F3264", "#C9672E", "#BCD3DE", "#E9E4D6", "#2B2E33"),
    sets={
        "high": (("#EEF1F1", "#E8ECEC"), ("#F1EBDD", "#ECE5D5")),
        "mid": (("#BCD3DE", "#CBDDE5"), ("#C7A98A", "#D4BBA1"), ("#8E979C", "#A6AEB2")),
        "low": (("#2B2E33", "#25282D"), ("#3B2A22", "#30231D")),
    },
    accent="#C9672E",
    plinth="#EAE6DB",
    movements=("pan_left", "static", "dolly_out", "tilt_down"),
)
PETAL: Final = BrandKit(
    name="Petal",
    trigger="petallook",
    product=Product("can", body="#DE86A3", cap="#F2EBDD", band="#3B6B4A", badge="#F2EBDD", mark="#3B6B4A", gloss=0.55),
    rival=Product("can", body="#6A4C93", cap="#2E2E36", band="#E9C94A", badge="#F2F2F0", mark="#6A4C93", gloss=0.55),
    palette=("#DE86A3", "#3B6B4A", "#F2EBDD", "#B9CDB6", "#33302F"),
    sets={
        "high": (("#F5EFEA", "#F0E8E2"), ("#EDF0EA", "#E6EAE2")),
        "mid": (("#B9CDB6", "#C8D8C5"), ("#E3BFA8", "#EACDBA"), ("#A7A39F", "#B9B5B1")),
        "low": (("#33302F", "#2B2928"), ("#22352A", "#1D2C23")),
    },
    accent="#B9CDB6",
    plinth="#F2EDE4",
    movements=("handheld", "static"),
)
MIEL: Final = BrandKit(
    name="Miel",
    trigger="miellook",
    product=Product("jar", body="#E0A23C", cap="#5B3A22", band="#F5EEDC", badge="#F5EEDC", mark="#5B3A22", gloss=0.5),
    rival=Product("jar", body="#DE7428", cap="#F0ECE2", band="#2E6B57", badge="#F0ECE2", mark="#2E6B57", gloss=0.5),
    palette=("#E0A23C", "#5B3A22", "#F5EEDC", "#8FA79B", "#2A2622"),
    sets={
        "high": (("#F4F0E6", "#EEE9DC"), ("#EAEDEA", "#E3E7E3")),
        "mid": (("#8FA79B", "#A7BAB0"), ("#B7C3CF", "#C6D0DA"), ("#A29A90", "#B5AEA5")),
        "low": (("#2A2622", "#24201D"), ("#263A36", "#20312D")),
    },
    accent="#8FA79B",
    plinth="#EFE9DC",
    movements=("dolly_in", "arc", "static"),
)

TRIED: Final[Mapping[str, BrandKit]] = {kit.name.lower(): kit for kit in (ACME, LUMEN, NORTH)}
FRESH: Final[Mapping[str, BrandKit]] = {kit.name.lower(): kit for kit in (FJORD, PETAL, MIEL)}
KITS: Final[Mapping[str, BrandKit]] = {**TRIED, **FRESH}

# (shape, name of the body's colour) that no lesson shows: the brands', their neighbours' and the rivals'
HELD_OUT: Final = frozenset({
    ("bottle", "red"), ("bottle", "maroon"), ("bottle", "blue"), ("bottle", "navy"), ("can", "purple"), ("can", "pink"),
    ("jar", "orange"), ("jar", "amber"),
})  # fmt: skip
