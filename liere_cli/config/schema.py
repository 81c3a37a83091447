"""The JSON Schema of recipes, for editors and other tools."""

from typing import Any

from liere_cli.config.recipe import Recipe

#: a file beside the built-in recipes, whose comments name it for the YAML language server
FILE = "recipe.schema.json"
#: sections of a data set in a comparison, and the schema that their keys have
_PARTS = {
    "model": "ModelSettings",
    "training": "TrainingSettings",
    "tuning": "TuningSettings",
    "transfer": "TransferSettings",
}


def recipe_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a recipe, with every short form that a recipe may use."""
    schema = Recipe.model_json_schema()
    dataset = schema["$defs"]["DatasetSettings"]["properties"]
    for key, name in _PARTS.items():
        reference = {"$ref": f"#/$defs/{name}"}
        kept = {k: v for k, v in dataset[key].items() if k in ("default", "description", "title")}
        optional = {"anyOf": [reference, {"type": "null"}]} if key == "transfer" else reference
        dataset[key] = optional | kept
    comparison = schema["$defs"]["CompareSettings"]["properties"]
    comparison["parents"] = comparison["from"]  # its name in resolved recipes
    _require_names(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "liere recipe",
    }


def _require_names(schema: Any) -> None:
    """Requires the name of every encoding and data set that is written as a mapping."""
    if isinstance(schema, dict):
        parts = schema.get("anyOf", [])
        if {"type": "string"} in parts:
            for part in parts:
                if part.get("type") == "object":
                    part["required"] = ["name"]
        for value in schema.values():
            _require_names(value)
    elif isinstance(schema, list):
        for value in schema:
            _require_names(value)
