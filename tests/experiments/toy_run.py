"""Stands in for `aim_rl.finetune` under experiments/soak.py: two processes, replaced when lost, and a curve."""

import itertools
import sys
import time
from pathlib import Path

from torch.utils.tensorboard.writer import SummaryWriter

from aim_rl.rollout.worker import WorkerLost
from tests.aim_rl.faulty_worker import answer
from tests.aim_rl.rollout.fake_transport import StoppedMeansHung


def main() -> None:
    writer = SummaryWriter(Path(sys.argv[sys.argv.index("--out") + 1]) / "tensorboard", flush_secs=1)
    transport = StoppedMeansHung()
    workers = [transport.start(answer) for _ in range(2)]
    for iteration in itertools.count():
        lost = 0
        for index, worker in enumerate(workers):
            worker.ask("hello")
            try:
                worker.answer(600.0)
            except WorkerLost:
                lost, workers[index] = lost + 1, transport.start(answer)
        writer.add_scalar("stage2/simulator_restarts", lost, iteration)
        writer.add_scalar("stage2/speed/episodes_per_s", 2.5, iteration)
        time.sleep(0.2)


if __name__ == "__main__":
    main()
