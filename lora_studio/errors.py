"""Every error a person can cause or meet, in one tree. Knows nothing but words.

    LoraStudioError            anything with a message meant for a person
    ├── WorkspaceError         no workspace here, or one of its files is damaged
    ├── BrandError             brand.toml or prompts.toml is wrong
    ├── RecipeError            a recipe is wrong (all faults in one message)
    ├── FootageError           a folder or file that cannot be taken in
    │   └── MediaError         a video that cannot be decoded or encoded
    ├── RightsError            footage without the rights this step needs
    ├── ModelError             weights missing, incomplete or not what they should be
    ├── AdapterError           an adapter that matches nothing, or does not load
    ├── TrainingError          a run that cannot start, resume or go on
    └── ReviewError            a vote or a review that is not allowed

A message says: the key or file as the user knows it, what was got, what is allowed, what to do next.
Errors in our own reasoning are `assert`s, never these.
"""

import sys
from collections.abc import Callable


class LoraStudioError(Exception):
    """Base of every error that is shown to a person as one line."""


class WorkspaceError(LoraStudioError):
    """No workspace here, or one of its files is damaged."""


class BrandError(LoraStudioError):
    """brand.toml or prompts.toml is wrong."""


class RecipeError(LoraStudioError):
    """A recipe is wrong."""


class FootageError(LoraStudioError):
    """A folder or file that cannot be taken in."""


class MediaError(FootageError):
    """A video that cannot be decoded or encoded."""


class RightsError(LoraStudioError):
    """Footage without the rights this step needs."""


class ModelError(LoraStudioError):
    """Weights missing, incomplete or not what they should be."""


class AdapterError(LoraStudioError):
    """An adapter that matches nothing, or does not load."""


class TrainingError(LoraStudioError):
    """A run that cannot start, resume or go on."""


class ReviewError(LoraStudioError):
    """A vote or a review that is not allowed."""


def run_command(command: Callable[[], object]) -> None:
    """Runs a console entry point; a `LoraStudioError`, or a file that cannot be opened or written, becomes one line
    on stderr and exit status 1."""
    try:
        command()
    except LoraStudioError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        if error.filename is None:
            raise  # not about a file a person could mend
        print(f"error: {error.filename}: {error.strerror}: check the path, its permissions and the free space", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("stopped: run the same command again to go on from here", file=sys.stderr)
        raise SystemExit(130) from None
