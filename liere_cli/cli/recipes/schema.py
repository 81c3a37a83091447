"""``liere schema``."""

from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from liere_cli.cli import console
from liere_cli.errors import unknown

if TYPE_CHECKING:
    from liere_cli.config.reference import Key

#: how the keys outside of sections are called
TOP = "recipe"


def complete_section(incomplete: str) -> list[str]:
    from liere_cli.config.reference import keys

    names = dict.fromkeys(key.section or TOP for key in keys())
    return [name for name in names if name.startswith(incomplete)]


def schema(
    section: Annotated[
        str | None,
        Argument(
            metavar="SECTION",
            help="Show the keys of this section as a table, as training or compare.transfer.",
            autocompletion=complete_section,
        ),
    ] = None,
    keys: Annotated[
        bool, Option("--keys", help="Show the keys of all sections as tables.")
    ] = False,
) -> None:
    """Print the JSON Schema of recipes, or tables of their keys, as --set takes them.

    Editors check recipes by the schema: # yaml-language-server: $schema=FILE
    """
    if section is None and not keys:
        from liere_cli.config.schema import recipe_schema

        console.print_json(recipe_schema())
        return
    from liere_cli.config.reference import keys as all_keys

    by_section: dict[str, list[Key]] = {}
    for key in all_keys():
        by_section.setdefault(key.section or TOP, []).append(key)
    if section is not None and section not in by_section:
        raise unknown("section", section, by_section)
    for name in [section] if section else by_section:
        _show(name, by_section[name])


def _show(section: str, keys: "list[Key]") -> None:
    table = console.table(title=section, title_style="italic")
    table.add_column("key", style="bold", overflow="fold")
    table.add_column("default", overflow="fold", max_width=24)
    table.add_column("meaning", overflow="fold")
    for key in keys:
        values = f" ({', '.join(key.values)})" if key.values else ""
        cells = (key.key, key.default or "required", key.meaning + values)
        table.add_row(*map(console.shown, cells))
    screen = console.stdout()
    screen.print(table)
    screen.print()
