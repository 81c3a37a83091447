"""Command lines made of common flags and a test's own."""

from collections.abc import Iterable

REPEATABLE = ("--set", "--slurm", "--grid", "--extend", "--column")


def last_of_each(arguments: Iterable[str]) -> list[str]:
    """The arguments without a flag, and its value, that a later one replaces."""
    groups: list[list[str]] = []
    for argument in arguments:
        is_value = groups and groups[-1][0].startswith("--") and "=" not in groups[-1][0]
        if is_value and len(groups[-1]) == 1 and not argument.startswith("--"):
            groups[-1].append(argument)
        else:
            groups.append([argument])
    names = [group[0].partition("=")[0] for group in groups]
    return [
        argument
        for index, (name, group) in enumerate(zip(names, groups, strict=True))
        if not name.startswith("--") or name in REPEATABLE or name not in names[index + 1 :]
        for argument in group
    ]
