"""Ways of making rewards for logs that have none: `glocal data label WAY LOGS OUT ...`, each way a function."""

from collections.abc import Sequence

from glocal.pipeline.label.seen import classifier, goal, tracker
from glocal.pipeline.label.sensed import near
from glocal.pipeline.label.told import column, function, table
from glocal.pipeline.usage import read_verb

WAYS = {way.__name__: way for way in (column, table, function, near, goal, classifier, tracker)}


def main(arguments: Sequence[str]) -> None:
    """`glocal data label WAY ...`."""
    read_verb(WAYS, arguments, "glocal data label")
