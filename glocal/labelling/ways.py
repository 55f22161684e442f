"""Ways of making rewards for logs that have none: `glocal data label WAY LOGS OUT ...`, each way a function."""

from collections.abc import Sequence

from glocal.labelling.seen import classifier, goal, tracker
from glocal.labelling.sensed import near
from glocal.labelling.told import column, function, table
from glocal.usage import read_verb

WAYS = {way.__name__: way for way in (column, table, function, near, goal, classifier, tracker)}


def main(arguments: Sequence[str]) -> None:
    """`glocal data label WAY ...`."""
    read_verb(WAYS, arguments, "glocal data label")
