"""The `data-tools` command line: one subcommand per step. Parses, prints and nothing else; each step imports what it needs."""

import json
import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from lora_studio.brand import Brand, load_brand, save_brand
from lora_studio.errors import BrandError, run_command
from lora_studio.files import write_text
from lora_studio.records import Rights
from lora_studio.threads import share_cores
from lora_studio.workspace import Workspace

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From a studio's footage to a dataset: init, ingest, tag, caption, coverage, build; status at any time.",
)


class Fit(StrEnum):
    """How pictures of another shape are brought to the model's."""

    crop = "crop"
    pad = "pad"


Place = Annotated[Path, typer.Argument(metavar="WORKSPACE", help="The brand's folder.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Files or shots worked on at once; default: one a core, at most 8.")]
OnRay = Annotated[bool, typer.Option("--ray", help="Work on the Ray cluster at RAY_ADDRESS; needs the extra lora-studio\\[ray].")]


def _runner(on_ray: bool) -> Any:
    from data_tools import workers

    if not on_ray:
        return workers.run_supervised
    from data_tools.on_ray import run_on_ray

    return run_on_ray


@app.command()
def init(
    workspace: Place,
    name: Annotated[str, typer.Option(help="The brand's name.")],
    trigger: Annotated[str, typer.Option(help="A word nobody says by accident; it will stand first in every caption.")],
    subject: Annotated[str, typer.Option(help="What the footage shows when nothing better is known.")] = "a product",
    palette: Annotated[str, typer.Option(help='Brand colours, "#D7263D,#F4F1E8".')] = "",
    owner: Annotated[str, typer.Option(help="Who owns the footage.")] = "",
    cleared: Annotated[bool, typer.Option("--cleared", help="State that the owner clears it for AI training.")] = False,
) -> None:
    """Make a workspace: writes brand.toml."""
    place = Workspace.at(workspace)
    wanted = _brand(name, trigger, subject, palette, owner, cleared)
    if place.brand_file.is_file():
        differs = load_brand(place) != wanted
        print(f"{place.brand_file} is there already and stays as it is" + ("; edit it to change the brand" if differs else ""))
        return
    save_brand(place, wanted)
    print(f"wrote {place.brand_file}")
    if not cleared:
        print("no footage is cleared for AI training yet: state owner and ai_training under [rights] before `data-tools build`")


def _brand(name: str, trigger: str, subject: str, palette: str, owner: str, cleared: bool) -> Brand:
    if cleared and not owner:
        raise BrandError("--cleared needs --owner NAME: somebody must own the footage to clear it")
    colours = tuple(colour.strip() for colour in palette.split(",") if colour.strip())
    rights = Rights(owner=owner, licence="owned" if owner else "", ai_training=cleared)
    try:
        return Brand(name=name, trigger=trigger, subject=subject, palette=colours, rights=rights)
    except ValueError as fault:
        _, option, words = str(fault).splitlines()[:3]
        raise BrandError(f"--{option.split('.')[0]}: {words.split(' [type')[0].strip().removeprefix('Value error, ')}") from None


@app.command()
def stage(
    workspace: Place,
    files: Annotated[int, typer.Option(min=1, help="How many films to render.")] = 12,
    seed: Annotated[int, typer.Option(min=0, help="Decides every scene.")] = 0,
    brand: Annotated[str, typer.Option(help="Which virtual brand: acme, lumen, north, fjord, petal or miel.")] = "acme",
) -> None:
    """Shoot a demo brand's footage on the virtual stage."""
    from data_tools.stage import KITS, render_stage

    if brand not in KITS:
        raise typer.BadParameter(f"--brand must be one of {', '.join(KITS)}, got {brand!r}")
    place = Workspace.at(workspace)
    render_stage(place, files, seed, kit=KITS[brand])
    print(f"the stage's footage is in {place.footage}")


@app.command()
def lessons(
    folder: Annotated[Path, typer.Argument(help="Where the rendered lessons go; those there already are kept.")],
    stills: Annotated[int, typer.Option(min=0, help="How many scenes as one frame.")] = 24576,
    clips: Annotated[int, typer.Option(min=0, help="How many scenes as nine frames.")] = 5120,
    first: Annotated[int, typer.Option(min=0, help="Number of the first one of each; a multiple of 256.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Decides every scene.")] = 0,
) -> None:
    """Render the scenes that nova-nano is trained on."""
    if first % 256:
        raise typer.BadParameter(f"a file holds 256 lessons: take a multiple, got {first}; {first // 256 * 256} would do")
    from data_tools.stage.lessons import render_lessons

    render_lessons(folder, "clips", first, clips, seed)
    render_lessons(folder, "stills", first, stills, seed)
    print(f"the lessons are in {folder}")


@app.command()
def ingest(
    workspace: Place,
    folder: Annotated[Path, typer.Argument(help="Any folder tree with video files.")],
    workers: Workers = None,
    shard: Annotated[str, typer.Option(help="I/N: only the I-th of N parts, 0 to N - 1; `merge` brings them together.")] = "0/1",
    on_ray: OnRay = False,
    retry: Annotated[bool, typer.Option("--retry", help="Read again what was refused, though it has not changed.")] = False,
) -> None:
    """Take footage in: check, hash, part into shots, normalise."""
    place = Workspace.open(workspace)
    from data_tools.ingest import ingest_folder, parse_shard

    ledger = ingest_folder(place, folder, workers, parse_shard(shard), _runner(on_ray), retry=retry)
    usable = [record for record in ledger.footage if record.status == "usable"]
    for record in usable:
        notes = "; ".join([f"{ledger.num_shots.get(record.footage_id, 0)} shots", *record.warnings])
        print(f"usable       {record.path} ({notes})")
    for record in ledger.footage:
        if record.status == "quarantined":
            print(f"quarantined  {record.path}: {record.reason}")
    num_shots = sum(ledger.num_shots.get(record.footage_id, 0) for record in usable)
    num_quarantined = len(ledger.footage) - len(usable)
    done = "" if ledger.num_new else "; nothing to do"
    print(f"{len(ledger.footage)} files: {len(usable)} usable with {num_shots} shots, {num_quarantined} quarantined{done}")


@app.command()
def merge(
    workspace: Place,
    shards: Annotated[list[Path], typer.Argument(help="Workspaces that `ingest --shard` filled.")],
) -> None:
    """Bring what several machines have taken in together."""
    place = Workspace.open(workspace)
    from data_tools.merge import merge_workspaces

    done = merge_workspaces(place, [Workspace.open(shard) for shard in shards])
    effect = f"{done.num_changed} rows changed" if done.num_changed else "nothing to do"
    print(f"{done.num_files} files, {done.num_shots} shots: {effect}")


@app.command()
def tag(
    workspace: Place,
    vision: Annotated[Path | None, typer.Option(help="An open_clip model folder to ask; nano: the stage's.")] = None,
    workers: Workers = None,
    on_ray: OnRay = False,
) -> None:
    """Tag angle and light: camera reports, measurement, open_clip."""
    place = Workspace.open(workspace)
    from data_tools.catalog import Catalog
    from data_tools.tags import count_statuses, tag_shots

    done = tag_shots(place, vision, num_workers=workers, run=_runner(on_ray))
    for axis, counts in count_statuses(Catalog(place).shots()).items():
        print(f"{axis:18} " + ", ".join(f"{number} {status}" for status, number in sorted(counts.items())))
    for axis, found in done.learned.items():
        use = "" if found.is_better else "; not better, so not used"
        beside = f"open_clip {found.right_looked:.0%}, the commonest answer {found.right_commonest:.0%}{use}"
        print(f"{axis:18} learned from {found.num_shots} shots: held out, {found.right:.0%} right; {beside}")
    if not (done.num_measured or done.num_failed or done.num_looked_at or done.num_changed):
        print(f"{done.num_shots} shots; nothing to do")
        return
    failed = f", {done.num_failed} could not be measured (the reasons stand above)" if done.num_failed else ""
    print(f"{done.num_shots} shots: {done.num_measured} measured{failed}, {done.num_looked_at} looked at (open_clip, uncalibrated)")


@app.command()
def describe(
    workspace: Place,
    model: Annotated[Path, typer.Option(help="Folder of a vision-language model as transformers saves it.")],
) -> None:
    """Let a vision-language model say what is in each shot; camera reports and people stand above it."""
    place = Workspace.open(workspace)
    from data_tools.describe import describe_shots

    done = describe_shots(place, model)
    for reason, number in sorted(done.left_out.items()):
        print(f"not used: {number} answers, {reason}")
    for words, number in sorted(done.repeated.items()):
        print(f"said of {number} scenes alike, look at them: {words}")
    print(f"{done.num_shots} shots: " + (f"{done.num_asked} described" if done.num_asked else "nothing to do"))


@app.command()
def review(
    workspace: Place,
    by: Annotated[str, typer.Option(help="Who corrects; default: who is logged in.")] = "",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free port.")] = 7861,
) -> None:
    """Correct tags in the browser, conflicts first, on this machine only."""
    place = Workspace.open(workspace)
    import getpass
    import os

    from lora_studio.review.server import check_environment

    check_environment(dict(os.environ))
    from data_tools.review.page import serve  # gradio: takes seconds to import

    def tell(address: str) -> None:
        print(f"Correction page of {place.root.name}: {address}  (Ctrl+C stops it)", flush=True)

    serve(place, by or getpass.getuser(), port, tell)


@app.command()
def caption(workspace: Place) -> None:
    """Compose captions from tags."""
    place = Workspace.open(workspace)
    from data_tools.captions import caption_shots

    done = caption_shots(place)
    for fault, number in sorted(done.doubtful.items()):
        print(f"look again: the words for {number} shots are used as they are, but {fault}")
    if done.num_stated:
        print(f"{done.num_stated} captions are those of the .txt files beside the footage")
    for axis, value in done.constant.items():
        print(f"{axis} is {value} in every shot: captions leave it out, and the trigger will mean it too")
    print(f"{done.num_shots} shots: " + (f"{done.num_changed} captions written" if done.num_changed else "nothing to do"))


@app.command()
def coverage(
    workspace: Place,
    rows: Annotated[str, typer.Option(help="Axis of the rows.")] = "angle.scale",
    cols: Annotated[str, typer.Option(help="Axis of the columns.")] = "light.key",
    html: Annotated[bool, typer.Option("--html", help="Also write catalog/coverage.html, with thumbnails.")] = False,
) -> None:
    """Show what the footage covers, what is confounded, and what to shoot next."""
    place = Workspace.open(workspace)
    from data_tools.coverage import cover, to_text

    found = cover(place, rows, cols)
    print(to_text(found))
    if html:
        from data_tools.catalog import Catalog
        from data_tools.coverage_page import to_html

        page = to_html(place, found, [row.shot for row in Catalog(place).shots()])
        write_text(place.catalog / "coverage.html", page)
        print(f"\nwrote {place.catalog / 'coverage.html'}")


@app.command()
def search(
    workspace: Place,
    query: Annotated[str, typer.Argument(help='"bottle, low angle, backlit"; also "light.key=low".')] = "",
    like: Annotated[str, typer.Option(help="A shot id or a picture: the most similar shots first.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    vision: Annotated[Path | None, typer.Option(help="The open_clip model of `tag`; free words need it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find shots by tag, by words, by likeness, or all at once."""
    place = Workspace.open(workspace)
    from data_tools.catalog import Catalog
    from data_tools.search import search as find
    from data_tools.search import to_rows

    rows = to_rows(find(place, query, like, limit, vision), Catalog(place).footage())
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for row in rows:
        near, place = "" if row["likeness"] is None else f"{row['likeness']:.2f}  ", f"{row['start_s']:.1f} to {row['end_s']:.1f} s"
        print(f"{near}{row['shot_id']}  {row['path']}  {place}  {row['caption'] or row['content']}")
    print(f"{len(rows)} shots" if rows else "no shot is like that: `data-tools coverage` shows what there is")


@app.command()
def build(
    workspace: Place,
    model: Annotated[str, typer.Option(help='"nano", a model folder, or a Hub id.')] = "nano",
    held_out: Annotated[float, typer.Option(help="Share of the footage to hold out.")] = 0.2,
    fit: Annotated[Fit, typer.Option(help="crop: fill the frame; pad: keep the whole picture. `preview` shows both.")] = Fit.crop,
) -> None:
    """Encode clips and captions into the dataset that training reads."""
    place = Workspace.open(workspace)
    from data_tools.build import build_dataset, check_ready, open_base

    check_ready(place)
    done = build_dataset(place, open_base(model, fit=fit.value), held_out)
    for reason, number in sorted(done.left_out.items()):
        print(f"left out: {number} shots, {reason}")
    if done.cut_off:
        shot, end = next(iter(done.cut_off.items()))
        print(f"too long: the model does not read the end of {len(done.cut_off)} captions, in shot {shot} \"{end.strip()}\"; "
              f"say in fewer words what is in the picture (`data-tools review {place.root}` or the camera report)")  # fmt: skip
    print(f"{done.num_train} train and {done.num_held_out} held-out clips", end="; ")
    print(f"encoded {done.num_encoded_clips} clips, {done.num_encoded_texts} captions" if done.is_new else "nothing to do")


@app.command()
def preview(
    workspace: Place,
    model: Annotated[str, typer.Option(help='"nano", a model folder, or a Hub id.')] = "nano",
) -> None:
    """Draw a contact sheet: what the model would see of each shot, cropped and padded."""
    place = Workspace.open(workspace)
    from data_tools.build import open_base
    from data_tools.preview import draw_preview

    sheet, num_shown, num_shots = draw_preview(place, open_base(model).form)
    print(f"wrote {sheet}: {num_shown} of {num_shots} shots, those first that lose most by cropping")


@app.command()
def export(
    workspace: Place,
    folder: Annotated[Path, typer.Argument(help="A new folder, or one that an earlier export made.")],
) -> None:
    """Write the dataset as clips with captions that other trainers read: MP4, .txt and metadata.jsonl."""
    place = Workspace.open(workspace)
    from data_tools.export import export_dataset

    number = export_dataset(place, folder)
    print(f"{number} clips are in {folder}" if number else f"{folder} is up to date; nothing to do")


@app.command()
def withdraw(
    workspace: Place,
    files: Annotated[list[str], typer.Argument(help="Paths, or file names that occur once.")],
    reason: Annotated[str, typer.Option(help="One line for the record.")],
) -> None:
    """Take the clearance of footage back, and say what was made with it."""
    place = Workspace.open(workspace)
    from datetime import date

    from data_tools.withdraw import FILE, withdraw

    effect = withdraw(place, files, reason, date.today())
    for record in effect.footage:
        print(f"withdrawn    {record.path}")
    print(f"noted in {place.root / FILE}; footage files and normalised shots were left where they are")
    if effect.is_in_dataset:
        print(f"the dataset held clips of it and must not be trained on: `data-tools build {place.root}` makes one without them")
    for folder in effect.exports:
        print(f"the export in {folder} holds clips of it, and so may copies of it: after `data-tools build` export there anew")
    for name in effect.runs:
        print(f"run {name} was trained on it: delete it and train again")
    for name in effect.unknown_runs:
        print(f"run {name}: its dataset was built before it was noted what datasets are made of; it may have been trained on it")


@app.command()
def status(workspace: Place, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say where the workspace stands."""
    place = Workspace.open(workspace)
    from data_tools.status import status_of, to_text

    found = status_of(place)
    print(json.dumps(found, indent=2, ensure_ascii=False) if as_json else to_text(found))


def main() -> None:
    """The console script."""
    share_cores()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of kernels that nothing here uses
    run_command(app)


if __name__ == "__main__":
    main()
