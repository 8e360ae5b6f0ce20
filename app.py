"""The review page: `python app.py --workspace acme` shows the takes of a workspace side by side, on this machine only."""

import argparse
import os
import threading
import webbrowser
from functools import partial

from lora_studio.errors import run_command
from lora_studio.threads import share_cores


def main() -> None:
    """Reads the command line and serves the page until interrupted."""
    parser = argparse.ArgumentParser(description="Serve the review page of one workspace, on this machine only.")
    parser.add_argument("--workspace", required=True, metavar="DIR", help="the brand's folder (it holds brand.toml)")
    parser.add_argument("--port", type=int, default=7860, help="default 7860; 0 takes any free port")
    parser.add_argument("--host", default="127.0.0.1", help="127.0.0.1 or localhost")
    parser.add_argument("--database", metavar="URL", help="where votes are kept, as a SQLAlchemy URL; default WORKSPACE/review.db")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    share_cores()
    run_command(partial(serve, parser.parse_args()))


def serve(options: argparse.Namespace) -> None:
    """Opens the workspace, takes the port, and serves.

    Raises:
        LoraStudioError: no workspace there, or the port, host, database or environment is not usable.
    """
    from lora_studio.workspace import Workspace

    workspace = Workspace.open(options.workspace)

    from lora_studio.review import server

    server.check_environment(dict(os.environ))
    listener = server.listen(options.host, options.port)
    port = listener.getsockname()[1]

    from lora_studio.review.media import Media
    from lora_studio.review.room import Room
    from lora_studio.review.store import ReviewStore

    media = Media()
    store = ReviewStore(options.database or f"sqlite:///{workspace.review_db}")
    room = Room(workspace, store, media)

    from lora_studio.review.page import build_page, mount_page  # gradio: takes seconds to import

    app = server.create_app(media, lambda app: mount_page(app, build_page(room), port))
    address = f"http://{options.host}:{port}"
    print(f"Review page of {workspace.root.name}: {address}  (Ctrl+C stops it)", flush=True)
    if options.open:
        threading.Timer(1.0, webbrowser.open, [address]).start()
    server.run(app, listener)


if __name__ == "__main__":
    main()
