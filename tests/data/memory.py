"""Logs that stand in memory."""

from glocal.data.dataset import Dataset, Feature


class Logs(Dataset):
    """Episodes in memory."""

    fps, format = 10.0, "memory"

    def __init__(self, episodes):
        self.episodes = episodes
        self.lengths = [len(next(iter(one.values()))) for one in episodes]
        first = episodes[0]
        self.features = {k: Feature(v.shape[1:], str(v.dtype), picture=v.ndim == 4) for k, v in first.items()}

    def episode(self, number, names):
        return {name: self.episodes[number][name] for name in names}
