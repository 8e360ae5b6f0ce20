"""The coverage table as one HTML file with thumbnails, to send to whoever plans the next shoot. Reads clips; counts nothing."""

import base64
from collections.abc import Sequence
from html import escape

import cv2

from data_tools.coverage import Coverage, counted, stands_in
from lora_studio import video
from lora_studio.records import Shot
from lora_studio.taxonomy import UNKNOWN
from lora_studio.workspace import Workspace

_THUMBNAILS = 3  # a cell
_WIDTH = 120
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #1d1d1f; background: #fff }
table { border-collapse: collapse } caption { text-align: left; padding-bottom: .5rem }
th, td { border: 1px solid #d5d5da; padding: .5rem; text-align: left; vertical-align: top }
td { min-width: 8rem } td.short { background: #fff3e0 } td.unknown { background: #f2f2f4 }
img { display: block; margin-top: .25rem; width: 7.5rem } small { color: #5a5a60 }
"""


def to_html(workspace: Workspace, found: Coverage, shots: Sequence[Shot]) -> str:
    """The page.

    Args:
        workspace: where the shots' clips lie.
        found: what was counted.
        shots: those it was counted from.

    Raises:
        MediaError: a clip cannot be read.
    """
    placed: dict[tuple[str, str], list[Shot]] = {}
    for shot in shots:
        placed.setdefault(stands_in(shot, found.rows_axis, found.columns_axis), []).append(shot)
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in found.columns)
    rows = "\n".join(
        f'<tr><th scope="row">{escape(row)}</th>'
        + "".join(_cell(workspace, found, row, column, placed.get((row, column), [])) for column in found.columns)
        + "</tr>"
        for row in found.rows
    )
    title = f"Coverage: {escape(found.rows_axis)} by {escape(found.columns_axis)}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head><body>\n'
        f"<h1>{title}</h1>\n<table><caption>Distinct scenes; {counted(found.margin(), 'shot')} in all. Orange: fewer than "
        f"an even table would have ({found.target:.1f}).</caption>\n<tr><td></td>{head}</tr>\n{rows}\n</table>\n"
        f"<h2>Shoot next</h2>\n{_list(found.advice, 'Nothing: the table is even.')}\n"
        f"<h2>Confounded</h2>\n{_list(found.confounded, 'Nothing that can be told.')}\n</body></html>\n"
    )


def _cell(workspace: Workspace, found: Coverage, row: str, column: str, shots: list[Shot]) -> str:
    cell = found.at(row, column)
    kind = "unknown" if UNKNOWN in (row, column) else "short" if cell.effective < found.target else ""
    scenes = {shot.scene or shot.shot_id: shot for shot in reversed(shots)}
    pictures = "".join(_thumbnail(workspace, shot) for shot in [*scenes.values()][::-1][:_THUMBNAILS])
    detail = f"{counted(cell.shots, 'shot')}, {cell.seconds:g} s, confidence {cell.confidence:.0%}"
    told = f"<br><small>{detail}</small>" if cell.shots else ""
    return f'<td class="{kind}">{cell.scenes}{told}{pictures}</td>'


def _thumbnail(workspace: Workspace, shot: Shot) -> str:
    frame = video.read_frames(workspace.absolute(shot.path), [(shot.num_frames - 1) / shot.fps / 2])[0]
    small = cv2.resize(frame, (_WIDTH, round(_WIDTH * frame.shape[0] / frame.shape[1])), interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    data = base64.b64encode(jpeg.tobytes()).decode()
    return f'<img alt="{escape(shot.content or shot.shot_id)}" src="data:image/jpeg;base64,{data}">'


def _list(lines: Sequence[str], nothing: str) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>" if lines else f"<p>{nothing}</p>"
