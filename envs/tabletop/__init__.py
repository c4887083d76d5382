"""RoboTwin's tasks on SAPIEN with procedural assets: no download, runs on a CPU."""
