"""Ways of making rewards for logs that have none: `glocal data label WAY LOGS OUT ...`, each way a function."""

from collections.abc import Sequence

import tyro

from glocal.labelling.seen import classifier, goal, tracker
from glocal.labelling.told import column, function, table

WAYS = {way.__name__: way for way in (column, table, function, goal, classifier, tracker)}


def main(arguments: Sequence[str]) -> None:
    """`glocal data label WAY ...`."""
    options = (tyro.conf.FlagConversionOff,)
    tyro.extras.subcommand_cli_from_dict(WAYS, args=list(arguments), prog="glocal data label", config=options)
