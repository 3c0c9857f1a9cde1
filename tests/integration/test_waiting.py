"""Workers whose CPUs other work has, on a real Ray."""

from __future__ import annotations

from .helpers import Commands
from .shared_ray import SharedRay

SOURCE = """
import time
import ray
import raes

ray.init(log_to_driver=False)  # at RAY_ADDRESS

@ray.remote(num_cpus=3)
class Other:
    def ready(self):
        return True

other = Other.remote()
ray.get(other.ready.remote())
"""
RUN = """
import threading

def free_them():
    while "have not started yet" not in open("printed.txt").read():
        time.sleep(0.2)
    ray.kill(other)

class Printed:
    def write(self, text):
        open("printed.txt", "a").write(text)
    def flush(self): ...
    def isatty(self): return False

class BothWork:
    def on_generation(self, record):
        return "have started" in open("printed.txt").read()

import sys
open("printed.txt", "w").close()
sys.stdout = Printed()
threading.Thread(target=free_them, daemon=True).start()
run = raes.fit(env="gymnasium", env__id="CartPole-v1", policy="linear", algorithm__pairs=3, noise__size=50_000,
               evaluation__episodes=2, evaluation__every=0, workers=2, max_minutes=2, callbacks=[BothWork()])
sys.stdout = sys.__stdout__
print(open("printed.txt").read(), run.reason)
"""


def test_a_run_that_waits_for_cpus_says_so_and_goes_on_when_there_are_some(
    commands: Commands, shared_ray: SharedRay
) -> None:
    (commands.cwd / "script.py").write_text(SOURCE + RUN)
    command = commands.script("script.py", RAY_ADDRESS=shared_ray.address).wait()
    lines = command.out.splitlines()
    waits = [line for line in lines if "have not started yet" in line]
    assert len(waits) == 1
    assert waits[0].startswith("2 of 2 workers have not started yet")
    assert "all workers have started" in lines
    assert lines.index(waits[0]) < lines.index("all workers have started")
    assert any(line.startswith("gen     1") for line in lines)
