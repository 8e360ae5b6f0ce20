"""The toy workspace and recipe, for every test of this room."""

from toy import recipe, workspace

__all__ = ["recipe", "workspace"]
