"""Logs that stand in memory."""

from pathlib import Path

from glocal.data.dataset import Dataset, Feature


class Logs(Dataset):
    """Episodes in memory."""

    format, folder = "memory", Path("memory")

    def __init__(self, episodes, fps=10.0):
        self.episodes, self.fps = episodes, fps
        self.lengths = [len(next(iter(one.values()))) for one in episodes]
        first = episodes[0]
        self.features = {k: Feature(v.shape[1:], str(v.dtype), picture=v.ndim == 4) for k, v in first.items()}

    def episode(self, number, names):
        return {name: self.episodes[number][name] for name in names}
