"""How the dataset beside this file was made, by lerobot 0.6.1 itself: `python make.py FOLDER [CODEC]`; not a test.

Three episodes of RoboTwin's features: grey frames of the brightness 10 * (frame + 1) + camera, joints that count up.
"""

import sys

import numpy as np
from lerobot.configs.video import RGBEncoderConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset

CAMERAS, SIZE = ("head_camera", "left_camera", "right_camera"), (48, 64)
joints = {"dtype": "float32", "shape": (14,), "names": [f"joint_{n}" for n in range(14)]}
picture = {"dtype": "video", "shape": (*SIZE, 3), "names": ["height", "width", "channels"]}
features = {f"observation.images.{camera}": picture for camera in CAMERAS}
features |= {"observation.state": joints, "action": joints}
encoder = RGBEncoderConfig(vcodec=sys.argv[2] if len(sys.argv) > 2 else "libsvtav1")
dataset = LeRobotDataset.create("local/tiny", 25, features, root=sys.argv[1], robot_type="aloha", rgb_encoder=encoder)
for episode, length in enumerate((12, 9, 15)):
    for frame in range(length):
        state = np.full(14, 0.01 * frame + 0.1 * episode, np.float32)
        state[[6, 13]] = 1.0 if frame < 5 else 0.0
        images = {
            f"observation.images.{camera}": np.full((*SIZE, 3), 10 * (frame + 1) + number, np.uint8)
            for number, camera in enumerate(CAMERAS)
        }
        task = "stack the blocks" if episode < 2 else "put one block on the other"
        dataset.add_frame(
            {"observation.state": state, "action": np.minimum(state + np.float32(0.01), 1), "task": task, **images}
        )
    dataset.save_episode()
dataset.finalize()
