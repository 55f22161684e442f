"""Small tensors are fastest on one thread; shapes in signatures are checked while testing."""

import torch
from jaxtyping import install_import_hook

torch.set_num_threads(1)
install_import_hook(
    ["glocal.core", "glocal.worlds", "glocal.surrogates", "glocal.agents"], "beartype.beartype"
).__enter__()
