"""Files with figures must be as their schema says, without a key that it does not name."""

import functools
import json
from typing import Any

from jsonschema import Draft202012Validator

from tests.tiny_runs import ROOT


@functools.cache
def _schema() -> dict[str, Any]:
    path = ROOT / "src" / "intracranial" / "evaluation" / "results.schema.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return schema


def assert_documented(content: dict[str, Any], kind: str) -> None:
    """Fail with the place and the reason of the first things that the schema does not allow."""
    schema = _schema()
    assert kind in schema["$defs"], f"the schema has no {kind}"
    checker = Draft202012Validator({**schema, "$ref": f"#/$defs/{kind}"})
    found = [f"{error.json_path}: {error.message[:300]}" for error in checker.iter_errors(content)]
    assert not found, "\n".join(found[:5])
