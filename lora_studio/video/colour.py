"""From what a camera recorded to BT.709 for a display: log, HLG and PQ footage, by one table (a .cube) for each.

Code values are decoded to light relative to reference white (a white of 100 % reflectance, HLG's signal of 75 %, PQ's 203 cd/m2:
ITU-R BT.2408), brought to BT.709's primaries, rolled off above 70 % of white, and encoded: by BT.709's own curve where the light is
the scene's (log, HLG), by BT.1886's where it is the display's (PQ). BT.2020 without HDR is not rolled off. Curves and primaries are
those of the colour-science library.
"""

import sys
from pathlib import Path
from types import ModuleType
from typing import Final
from unittest.mock import MagicMock

import numpy as np

from lora_studio.files import atomic_path

# name in colour.toml -> log curve and primaries, as colour-science calls them
LOG_SPACES: Final[dict[str, tuple[str, str]]] = {
    "applelog": ("Apple Log Profile", "ITU-R BT.2020"),
    "clog2": ("Canon Log 2", "Cinema Gamut"),
    "clog3": ("Canon Log 3", "Cinema Gamut"),
    "dlog": ("D-Log", "DJI D-Gamut"),
    "flog": ("F-Log", "F-Gamut"),
    "flog2": ("F-Log2", "F-Gamut"),
    "log3g10": ("Log3G10", "REDWideGamutRGB"),
    "logc3": ("ARRI LogC3", "ARRI Wide Gamut 3"),
    "logc4": ("ARRI LogC4", "ARRI Wide Gamut 4"),
    "nlog": ("N-Log", "N-Gamut"),
    "slog2": ("S-Log2", "S-Gamut"),
    "slog3": ("S-Log3", "S-Gamut3"),
    "slog3cine": ("S-Log3", "S-Gamut3.Cine"),
    "vlog": ("V-Log", "V-Gamut"),
}
WIDE_SPACES: Final = ("bt2020", "hlg", "pq")
VERSION: Final = 1  # of the tables: part of their files' names
_SIZE: Final = 33
_KNEE: Final = 0.7  # of reference white: the light up to which nothing is rolled off
_HLG_WHITE: Final = 0.265  # scene light of HLG's signal of 75 %, of its largest
_PQ_WHITE: Final = 203.0  # cd/m2


def cube_file(space: str, folder: Path) -> Path:
    """The table of a space as a .cube file in `folder`, written where it is not there yet."""
    path = folder / f"{space}_to_bt709_v{VERSION}.cube"
    if not path.is_file():
        rows = to_bt709(space, _grid()).round(6)
        with atomic_path(path) as temporary:
            lines = [f"LUT_3D_SIZE {_SIZE}", *(" ".join(f"{value:g}" for value in row) for row in rows)]
            temporary.write_text("\n".join(lines) + "\n", encoding="ascii")
    return path


def describe(space: str) -> str:
    """The transform of a space in one line."""
    if space == "bt2020":
        return "BT.2020 to BT.709"
    source = " / ".join(LOG_SPACES[space]) if space in LOG_SPACES else f"{space.upper()} / BT.2020"
    return f"{source} to BT.709, rolled off above {_KNEE:.0%} of reference white"


def to_bt709(space: str, codes: np.ndarray) -> np.ndarray:
    """Code values of a space -> code values of BT.709.

    Args:
        space: a key of LOG_SPACES, or one of WIDE_SPACES.
        codes: (N, 3) R'G'B', 0 to 1, as decoded from the file's own range.

    Returns:
        (N, 3) R'G'B', 0 to 1.
    """
    colour = load_colour_science()
    curve, gamut = LOG_SPACES.get(space, (space, "ITU-R BT.2020"))
    with np.errstate(invalid="ignore"):  # the library computes both branches of a curve everywhere
        if space == "hlg":
            light = colour.models.oetf_inverse_BT2100_HLG(codes) / _HLG_WHITE
        elif space == "pq":
            light = colour.models.eotf_ST2084(codes) / _PQ_WHITE
        elif space == "bt2020":
            light = colour.models.oetf_inverse_BT2020(codes)
        else:
            light = colour.LOG_DECODINGS[curve](codes)
    spaces = colour.RGB_COLOURSPACES
    matrix = colour.matrix_RGB_to_RGB(spaces[gamut], spaces["ITU-R BT.709"])
    wide = np.clip(light @ matrix.T, 0, None)
    shown = wide.clip(max=1) if space == "bt2020" else rolled_off(wide)
    return np.asarray(shown ** (1 / 2.4) if space == "pq" else colour.models.oetf_BT709(shown))


def load_colour_science() -> ModuleType:
    """The library `colour`: seconds to load, and few folders need it.

    Where matplotlib is missing it leaves mocks of it behind, which libraries that look for matplotlib later stumble over.
    """
    import colour

    for name in [name for name, module in sys.modules.items() if isinstance(module, MagicMock)]:
        del sys.modules[name]
    return colour


def rolled_off(light: np.ndarray) -> np.ndarray:
    """Light as it is up to 70 % of white; above, ever less of it, never reaching 1."""
    return np.where(light <= _KNEE, light, 1 - (1 - _KNEE) * np.exp(-(np.maximum(light, _KNEE) - _KNEE) / (1 - _KNEE)))


def _grid() -> np.ndarray:
    """(33**3, 3), red fastest, as .cube files have it."""
    axis = np.linspace(0, 1, _SIZE)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
    return np.stack([red, green, blue], axis=-1).reshape(-1, 3)
