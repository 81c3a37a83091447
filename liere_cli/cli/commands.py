"""Commands that refuse a flag given twice, of which the parser would keep the last."""

from typing import Any

from typer.core import TyperCommand, TyperGroup, TyperOption

from liere_cli.errors import UsageError


class Command(TyperCommand):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _refuse_repeated(self, ctx, args)
        return super().parse_args(ctx, args)


class Group(TyperGroup):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _refuse_repeated(self, ctx, args)
        return super().parse_args(ctx, args)


def _refuse_repeated(command: TyperCommand | TyperGroup, ctx: Any, args: list[str]) -> None:
    """Raises UsageError for an option with one value that is given twice."""
    _, _, order = command.make_parser(ctx).parse_args(args=list(args))
    for option in order:
        single = isinstance(option, TyperOption) and not option.multiple and not option.is_flag
        if single and order.count(option) > 1:
            raise UsageError(
                f"{option.opts[0]} is given {order.count(option)} times, but takes one value "
                f"(see {ctx.command_path} --help)"
            )
