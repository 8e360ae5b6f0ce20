"""The catalog of one workspace: what is known of every footage file and every shot. The only door to LanceDB.

Two tables, one row per record: `footage` (a row's id is the file's path in the workspace's terms) and `shots` (the shot id).
A row holds the record as JSON, its tags as `axis=value` words to filter by, the content keys of the steps that made it
(so that a step knows whether its work is done), and for shots the words for what is in the picture, in lower case, and a search
vector once a vision model has looked at them.
Writes touch changed rows only. Knows no step and judges nothing.
"""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa

from lora_studio.errors import WorkspaceError
from lora_studio.records import Footage, Shot
from lora_studio.taxonomy import parts
from lora_studio.workspace import Workspace

_FIELDS = [
    pa.field("id", pa.string()),
    pa.field("record", pa.string()),
    pa.field("tags", pa.list_(pa.string())),
    pa.field("keys", pa.string()),
]
_WORDS = pa.field("words", pa.string())
_INDEX_FROM = 10_000  # shots: below, looking at every vector is as fast
_PROBES, _REFINE = 100_000, 5  # parts of the index looked into: all there are; how many more candidates are compared exactly
_KEEP_VERSIONS = timedelta(hours=1)  # a reader in another process may still hold one


@dataclass(frozen=True)
class ShotRow:
    """A shot, the content key of each step done on it, and its search vector (D,) float32 or None."""

    shot: Shot
    keys: dict[str, str] = field(default_factory=dict)
    vector: np.ndarray | None = None


class Catalog:
    """The tables of one workspace, opened for reading and writing."""

    def __init__(self, workspace: Workspace) -> None:
        """Opens the catalog, making its folder when there is none."""
        workspace.catalog.mkdir(parents=True, exist_ok=True)
        self._database = lancedb.connect(str(workspace.catalog))
        self._tables: dict[str, Any] = {}
        self._folder, self._opened = workspace.catalog, time.time()

    def footage(self) -> list[Footage]:
        """Every footage record, by path."""
        return sorted((_load(Footage, row) for row in self._rows("footage")), key=lambda footage: footage.path)

    def put_footage(self, records: Sequence[Footage]) -> int:
        """Inserts or replaces footage by path. Returns how many rows changed."""
        return self._upsert("footage", [_row(record.path, record, [], {}) for record in records])

    def drop_footage(self, paths: Sequence[str]) -> None:
        """Forgets footage at these paths."""
        self._delete("footage", paths)

    def shots(self, where: Mapping[str, str] | None = None) -> list[ShotRow]:
        """Every shot, ordered by footage and position.

        Args:
            where: axis -> value; only shots that carry all of these tags.
        """
        wanted = {f"{axis}={value}" for axis, value in (where or {}).items()}
        rows = [row for row in self._rows("shots") if wanted <= set(row["tags"])]
        found = [ShotRow(_load(Shot, row), json.loads(row["keys"]), _vector(row)) for row in rows]
        return sorted(found, key=lambda row: (row.shot.footage_id, row.shot.index))

    def find(
        self, tags: Mapping[str, str], words: Sequence[str] = (), like: np.ndarray | None = None, limit: int = 20
    ) -> list[tuple[ShotRow, float | None]]:
        """The shots that carry all these tags and words, nearest first where there is something to be near to.

        Args:
            tags: axis -> value.
            words: each must occur in what is in the picture.
            like: a vector (D,) of the model that made the shots' vectors.
            limit: at most so many.

        Returns:
            Each shot with its cosine to `like`; None where nothing was to be compared.
        """
        wanted = [f"array_has(tags, {_quoted(f'{axis}={value}')})" for axis, value in tags.items()]
        wanted += [f"contains(words, {_quoted(word.lower())})" for word in words]
        table = self._table("shots")
        if like is not None and "vector" not in table.schema.names:
            return []
        query = table.search() if like is None else table.search(np.asarray(like, np.float32)).distance_type("cosine")
        if like is not None:
            query = query.nprobes(_PROBES).refine_factor(_REFINE)
        if wanted:
            query = query.where(" AND ".join(wanted), prefilter=True)
        rows = query.limit(limit).to_list()
        distances = [row.get("_distance") for row in rows]
        found = [ShotRow(_load(Shot, row), json.loads(row["keys"]), _vector(row)) for row in rows]
        pairs = [(row, None if distance is None else 1 - distance) for row, distance in zip(found, distances, strict=True)]
        return pairs if like is not None else sorted(pairs, key=lambda pair: (pair[0].shot.footage_id, pair[0].shot.index))

    def index(self) -> None:
        """Makes finding among many shots fast; does nothing where they are few."""
        table = self._table("shots")
        number = table.count_rows()
        if number < _INDEX_FROM:
            return
        table.create_scalar_index("tags", index_type="LABEL_LIST", replace=True)
        if "vector" in table.schema.names and table.count_rows("vector IS NOT NULL") >= _INDEX_FROM:
            table.create_index("cosine", index_type="IVF_SQ", num_partitions=max(2, round(number**0.5)), replace=True)

    def put_shots(self, rows: Sequence[ShotRow]) -> int:
        """Inserts or replaces shots by id. Returns how many rows changed."""
        width = next((len(row.vector) for row in rows if row.vector is not None), None)
        if width is not None:
            self._make_room_for_vectors(width)
        plain = []
        for row in rows:
            words = [f"{axis}={word}" for axis, tag in sorted(row.shot.tags.items()) for word in parts(tag.value)]
            entry = _row(row.shot.shot_id, row.shot, words, row.keys) | {"words": row.shot.content.lower()}
            if row.vector is not None:
                entry["vector"] = np.asarray(row.vector, dtype=np.float32).tolist()
            plain.append(entry)
        return self._upsert("shots", plain)

    def drop_shots(self, shot_ids: Sequence[str]) -> None:
        """Forgets these shots."""
        self._delete("shots", shot_ids)

    def compact(self) -> None:
        """Merges the small files that many writes leave behind, and clears away what killed writers did not finish."""
        for table in list(self._tables.values()):
            table.optimize(cleanup_older_than=_KEEP_VERSIONS)
        for path in self._folder.glob("*.lance/**/.tmp*"):
            with suppress(FileNotFoundError):  # another process's, renamed by now
                if path.stat().st_mtime < self._opened:
                    path.unlink()

    def _table(self, name: str) -> Any:
        if name not in self._tables:
            is_there = name in self._database.list_tables().tables
            fields = [*_FIELDS, _WORDS] if name == "shots" else _FIELDS
            made = self._database.open_table(name) if is_there else self._database.create_table(name, schema=pa.schema(fields))
            if name == "shots" and "words" not in made.schema.names:  # made before there was search
                made.add_columns(_WORDS)
            self._tables[name] = made
        return self._tables[name]

    def _rows(self, name: str) -> list[dict[str, Any]]:
        return self._table(name).to_arrow().to_pylist()

    def _upsert(self, name: str, rows: list[dict[str, Any]]) -> int:
        table = self._table(name)
        if "vector" in table.schema.names:
            rows = [{"vector": None} | row for row in rows]
        ids = [row["id"] for row in rows]
        stored = table.search().where(_one_of(ids)).limit(len(ids)).to_list() if ids else []
        known = {row["id"]: row for row in stored}
        changed = [row for row in rows if known.get(row["id"]) != row]
        if changed:
            data = pa.Table.from_pylist(changed, schema=table.schema)
            merge = table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
            merge.execute(data, on_bad_vectors="null")  # a shot that nobody has looked at yet has none
        return len(changed)

    def _delete(self, name: str, ids: Sequence[str]) -> None:
        if ids:
            self._table(name).delete(_one_of(ids))

    def _make_room_for_vectors(self, width: int) -> None:
        table = self._table("shots")
        wanted = pa.list_(pa.float32(), width)
        if "vector" in table.schema.names and table.schema.field("vector").type == wanted:
            return
        if "vector" in table.schema.names:
            table.drop_columns(["vector"])  # another model's vectors cannot be compared with the new ones
        table.add_columns(pa.field("vector", wanted))


def _one_of(ids: Sequence[str]) -> str:
    return "id IN (" + ", ".join(_quoted(one) for one in ids) + ")"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _row(row_id: str, record: Footage | Shot, tags: list[str], keys: dict[str, str]) -> dict[str, Any]:
    return {"id": row_id, "record": record.model_dump_json(), "tags": tags, "keys": json.dumps(keys, sort_keys=True)}


def _vector(row: dict[str, Any]) -> np.ndarray | None:
    stored = row.get("vector")
    return None if stored is None else np.asarray(stored, dtype=np.float32)


def _load(model: type[Any], row: dict[str, Any]) -> Any:
    try:
        return model.model_validate_json(row["record"])
    except ValueError as fault:
        raise WorkspaceError(f"catalog: the record of {row['id']} is damaged: {fault}") from None
