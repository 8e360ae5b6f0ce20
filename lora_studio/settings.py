"""Strict TOML: reading it, writing it, and saying everything that is wrong with it in one message.

Knows pydantic and TOML; knows no particular settings file.
"""

import difflib
import json
import re
import tomllib
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)

_DATE: Final = "a date is written YYYY-MM-DD, such as 2030-12-31"


def read_toml(path: Path, error: type[Exception]) -> dict[str, Any]:
    """Parses a TOML file; a syntax error becomes `error` with file, line and column."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as fault:
        raise error(f"{path}: not valid TOML: {fault}") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        raise error(f"{path}: {_wrong_date(text, str(fault)) or f'not valid TOML: {fault}'}") from None


def _wrong_date(text: str, fault: str) -> str:
    """What to say of a syntax error in a line that seems to set a date, `expires = 31.12.2030`; "" of any other."""
    line = re.search(r"at line (\d+)", fault)
    written = line and re.match(r"\s*([\w.-]+)\s*=\s*(\d+[-./]\d+[-./]\d+[^\s#]*)", text.splitlines()[int(line[1]) - 1])
    return f"{written[1]}: {_DATE}; got {written[2]}" if written else ""


def validate(model: type[Model], table: dict[str, Any], path: Path, error: type[Exception]) -> Model:
    """Checks a parsed table against a settings model.

    Raises:
        error: with every fault of the table, and the nearest known key for each unknown one.
    """
    try:
        return model.model_validate_json(json.dumps(table, default=str))  # JSON mode: arrays fill tuples, ISO text dates
    except ValidationError as fault:
        lines = [_describe_fault(dict(entry), model) for entry in fault.errors()]
        head = f"{path}: " if len(lines) == 1 else f"{path} has {len(lines)} faults:\n  "
        raise error(head + "\n  ".join(lines)) from None


def _describe_fault(fault: dict[str, Any], model: type[BaseModel]) -> str:
    location: tuple[str | int, ...] = fault["loc"]
    key = ".".join(str(part) for part in location)
    if fault["type"] == "extra_forbidden":
        known = _keys_at(model, location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        return f"{key} is not a known key" + (f"; did you mean {near[0]}?" if near else f"; known here: {', '.join(known)}")
    if fault["type"] == "missing":
        return f"{key} is missing"
    if str(fault["type"]).startswith("date_"):
        return f"{key}: {_DATE}; got {fault['input']!r}"
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"{key}: {message[0].lower()}{message[1:]}, got {fault['input']!r}"


def _keys_at(model: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    for part in location:
        field = model.model_fields.get(str(part))
        inner = (field.annotation, *get_args(field.annotation)) if field is not None else ()  # a table, or a list of tables
        model = next((kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return sorted(model.model_fields)


def to_toml(table: dict[str, Any], prefix: str = "") -> str:
    """Writes plain values, tables and arrays of tables as TOML (JSON's strings and numbers are TOML's too)."""
    lines = [f"{key} = {_value(value)}" for key, value in table.items() if not isinstance(value, dict) and not _is_array(value)]
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            lines += ["", f"[{name}]", to_toml(value, f"{name}.").rstrip("\n")]
        elif _is_array(value):
            for item in value:
                lines += ["", f"[[{name}]]", to_toml(item, f"{name}.").rstrip("\n")]
    return "\n".join(lines) + "\n"


def _is_array(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)
