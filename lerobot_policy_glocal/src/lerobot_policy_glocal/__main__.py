"""Add to a bundle what LeRobot wants to find beside a policy:

python -m lerobot_policy_glocal BUNDLE
"""

import argparse
import sys
from pathlib import Path

from .configuration_glocal import configuration_of
from .processor_glocal import make_glocal_pre_post_processors


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lerobot_policy_glocal", description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, help="a folder that `glocal export` wrote")
    bundle = parser.parse_args().bundle
    try:
        prepare(bundle)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def prepare(bundle: Path) -> None:
    config = configuration_of(bundle)
    config.save_pretrained(bundle)
    for pipeline in make_glocal_pre_post_processors(config):
        pipeline.save_pretrained(bundle)
    print(f"{bundle} is ready:\nlerobot-rollout --policy.path={bundle} --fps={config.fps:g} --robot.type=...")


if __name__ == "__main__":
    main()
