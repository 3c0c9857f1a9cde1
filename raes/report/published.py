"""Published results, each with its source and environment version, read from `raes/reference/`."""

from __future__ import annotations

import csv
import importlib.resources
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

REFERENCE = importlib.resources.files("raes") / "reference"
TRPO_VERSION = "v1"
"""Version of the MuJoCo tasks in Salimans et al. 2017."""
TRPO_SOURCE = "Salimans et al. 2017 (arXiv 1703.03864), table 3"
ATARI_COLUMNS = {"ES_FF_1_hour": "ES, 1 h", "A3C_FF_1_day": "A3C, 1 day", "DQN": "DQN"}
"""Column of es_paper_atari.csv -> heading."""


@dataclass(frozen=True)
class Milestone:
    """A score on a task, and the timesteps that it took.

    Attributes:
        share: of TRPO's final score, in per cent.
        score: the return.
        es, trpo: timesteps of the paper's ES and of TRPO.
    """

    share: int
    score: float
    es: float
    trpo: float


NEAR = 10.0
"""Runs are comparable with a published result within this factor of its score or of its timesteps."""


@dataclass(frozen=True)
class Published:
    """One published result.

    Attributes:
        method: the method and its size.
        environment: with its version.
        what: the quantity, with its unit.
        value: as the source prints it.
        source: where it was read.
        algorithm: ours of that method.
        timesteps: of the training, where they are published.
    """

    method: str
    environment: str
    what: str
    value: str
    source: str
    algorithm: str
    timesteps: float = 0.0


def base(task: str) -> str:
    """A task's name without version and arguments: `Hopper-v5` -> `Hopper`, but `LunarLanderContinuous` is its own."""
    name, *arguments = task.split(" ")
    name = re.sub(r"-v\d+$", "", name)
    return f"{name}Continuous" if name == "LunarLander" and "continuous=True" in arguments else name


@cache
def rows(name: str) -> tuple[Mapping[str, str], ...]:
    """The rows of `raes/reference/NAME.csv`."""
    return tuple(csv.DictReader((REFERENCE / f"{name}.csv").read_text().splitlines()))


def milestones(task: str) -> list[Milestone]:
    """Scores and timesteps of Salimans et al. 2017 on a MuJoCo task; empty for others."""
    return [
        Milestone(
            int(row["pct_of_TRPO_final_score"]),
            float(row["TRPO_score"]),
            float(row["ES_timesteps"]),
            float(row["TRPO_timesteps"]),
        )
        for row in rows("es_paper_mujoco")
        if row["environment"] == base(task)
    ]


def trpo_score(task: str) -> float | None:
    """TRPO's final score on a task, by which scores are normalised; None where it is not published."""
    final = [one.score for one in milestones(task) if one.share == 100]
    return final[0] if final else None


def comparable(score: float, returns: Iterable[float]) -> bool:
    """Whether a run came near enough to a published score for both to be seen in one chart."""
    return max(returns) >= score - abs(score) * (1 - 1 / NEAR)


def amount(text: str) -> float:
    """`50k` -> 50,000."""
    return float(text.rstrip("kM")) * {"k": 1e3, "M": 1e6}.get(text[-1:], 1.0)


def figures(task: str) -> list[Published]:
    """All other published results on a task: scores, and times to scores."""
    name = base(task)
    found = [
        Published(f"ARS, {row['n_timesteps']} timesteps", row["env_id"], "return, one run",
                  f"{float(row['mean_reward']):,.1f} (std {float(row['std_reward']):,.1f})", row["source"],
                  "ars", amount(row["n_timesteps"]))
        for row in rows("ars_zoo_benchmark") if base(row["env_id"]) == name
    ]  # fmt: skip
    found += [
        Published(row["method"], row["environment"], f"{row['quantity']}, return {row['threshold']}", row["value"],
                  row["source"], "ars")
        for row in rows("ars_thresholds")
        if base(row["environment"]) == name and row["value"] and row["threshold"].isdecimal()
        and not row["source"].startswith("see ")  # another file
    ]  # fmt: skip
    found += [
        Published("PGPE with ClipUp", row["environment"], "return of one saved agent", row["score_shown"],
                  row["source"], "pgpe")
        for row in rows("pgpe_clipup") if base(row["environment"]) == name and row["score_shown"]
    ]  # fmt: skip
    if name == "Humanoid":
        found += [
            Published(f"ES on {row['cpu_cores']} cores", "Humanoid-v1", "median minutes to a return of 6,000, 7 runs",
                      row["median_minutes_to_6000_Humanoid"], row["source"], "es")
            for row in rows("es_paper_scaling")
        ]  # fmt: skip
        ray = {row["item"]: row for row in rows("ray_osdi_es")}["median_minutes_at_8192"]
        found.append(Published("ES on Ray, 8,192 cores", "Humanoid-v1", "median minutes to a return of 6,000",
                               ray["value"], ray["source"].replace(" ,", ""), "es"))  # fmt: skip
    return found


@cache
def atari() -> dict[str, dict[str, float | None]]:
    """Scores of Salimans et al. 2017, table 2, by ROM name: `ATARI_COLUMNS` -> score, None where it has none."""
    return {
        rom(row["game"]): {column: float(row[column]) if row[column] else None for column in ATARI_COLUMNS}
        for row in rows("es_paper_atari")
    }


def rom(title: str) -> str:
    """ale-py's name of a game: `Montezumas Revenge` -> `montezuma_revenge`."""
    name = re.sub(r"[^a-z]+", "_", title.lower()).strip("_")
    return {
        "montezumas_revenge": "montezuma_revenge",
        "q_bert": "qbert",
        "up_and_down": "up_n_down",
        "river_raid": "riverraid",
    }.get(name, name)
