"""What LeRobot's EnvHub loads: `lerobot.envs.factory.make_env("USER/NAME:envs/env_hub.py", trust_remote_code=True)`.

Upload this file or the repository; the package `envs` must be installed where LeRobot runs (docs/data.md).
"""

from envs.lerobot import make_env

__all__ = ["make_env"]
