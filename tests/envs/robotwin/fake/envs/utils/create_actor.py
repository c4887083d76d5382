from pathlib import Path


def create_actor(modelname):
    """A model out of the assets, or None where its files are missing."""
    if not (Path("assets/objects") / modelname).exists():
        print(modelname, "is not exist model file!")
        return None
    return modelname
